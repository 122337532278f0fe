// Numpy arrays as kernels take them: shapes checked, nothing converted.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "rasterizer.h"

namespace cgc {

namespace py = pybind11;

template <class T>
using In = py::array_t<T, py::array::c_style>;
template <class T>
using Optional = std::optional<py::array_t<T, py::array::c_style>>;

// Data of an array of the given shape (-1: any).
template <class T>
const T* read(const In<T>& a, std::initializer_list<py::ssize_t> shape, const char* name) {
  bool ok = a.ndim() == py::ssize_t(shape.size());
  py::ssize_t i = 0;
  for (py::ssize_t n : shape) ok = ok && (n < 0 || a.shape(i) == n), ++i;
  if (!ok) {
    std::string want, got;
    for (py::ssize_t n : shape) want += (want.empty() ? "" : ", ") + (n < 0 ? std::string("?") : std::to_string(n));
    for (py::ssize_t k = 0; k < a.ndim(); ++k) got += (k ? ", " : "") + std::to_string(a.shape(k));
    throw py::value_error(std::string(name) + " must have shape [" + want + "], not [" + got + "]");
  }
  return a.data();
}
template <class T>
const T* read(const Optional<T>& a, std::initializer_list<py::ssize_t> shape, const char* name) {
  static const T nothing{};  // stands for an array without elements, whose own pointer may be null
  const T* data = a ? read(*a, shape, name) : nullptr;
  return a && !data ? &nothing : data;
}
template <class T>
T* write(Optional<T>& a, std::initializer_list<py::ssize_t> shape, const char* name) {
  return a ? (read(*a, shape, name), a->mutable_data()) : nullptr;
}
template <class T>
T* write(In<T>& a, std::initializer_list<py::ssize_t> shape, const char* name) {
  return read(a, shape, name), a.mutable_data();
}

inline Gaussians gaussians_of(const In<float>& means, const In<float>& quats, const In<float>& scales,
                              const In<float>& opacities) {
  const py::ssize_t n = means.ndim() ? means.shape(0) : 0;
  return {n, read(means, {-1, 3}, "means"), read(quats, {n, 4}, "quats"), read(scales, {n, 3}, "scales"),
          read(opacities, {n}, "opacities")};
}

struct PyView {
  View view;
  PyView(int width, int height, double fx, double fy, double cx, double cy, double blur,
         const In<float>& camera_from_world) {
    const float* m = read(camera_from_world, {4, 4}, "camera_from_world");
    if (width < 1 || height < 1)
      throw py::value_error("image size must be at least 1x1, not " + std::to_string(width) + "x" +
                            std::to_string(height));
    if (!(blur > 0)) throw py::value_error("blur must be positive, not " + std::to_string(blur));
    view = View{width, height, fx, fy, cx, cy, {}, {}, float(blur)};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) view.rotation[3 * i + j] = m[4 * i + j];
      view.translation[i] = m[4 * i + 3];
    }
  }
  int64_t pixels() const { return int64_t(view.width) * view.height; }
};

void bind_training(py::module_& m);
void bind_stereo(py::module_& m);
void bind_carving(py::module_& m);
void bind_silhouette(py::module_& m);

}  // namespace cgc
