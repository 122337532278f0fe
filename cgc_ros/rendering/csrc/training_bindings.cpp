// The training step for Python.
#include <algorithm>
#include <array>
#include <tuple>

#include "python_arrays.h"
#include "training.h"

namespace cgc {
namespace {

// A parameter [N, ...], Adam's two moments of the same shape, and its rate.
using PyRows = std::tuple<In<float>, In<float>, In<float>, float>;

TrainedRows rows_of(PyRows& rows, std::initializer_list<py::ssize_t> shape, const char* name) {
  int width = 1;
  for (py::ssize_t k = 1; k < std::get<0>(rows).ndim(); ++k) width *= int(std::get<0>(rows).shape(k));
  return {width, write(std::get<0>(rows), shape, name), write(std::get<1>(rows), shape, name),
          write(std::get<2>(rows), shape, name), std::get<3>(rows)};
}

py::array_t<double> array_of(const double* values, std::initializer_list<py::ssize_t> shape) {
  py::array_t<double> out(shape);
  std::copy_n(values, out.size(), out.mutable_data());
  return out;
}

py::dict train_in_place(const PyView& view, PyRows means, PyRows quats, PyRows log_scales, PyRows logit_opacities,
                        PyRows sh, int sh_degree, Optional<float> camera_position, In<uint8_t> color,
                        Optional<uint16_t> depth, Optional<uint8_t> mask, std::array<float, 3> gain,
                        std::array<float, 3> offset, std::array<float, 3> background, float ssim_weight,
                        float depth_weight, float depth_min_alpha, float depth_max_error, float opacity_weight,
                        float coverage_weight, float anisotropy_weight, float max_log_ratio, float beta1, float beta2,
                        float epsilon, bool camera_wanted, int threads) {
  TrainingStep step;
  step.view = view.view;
  const py::ssize_t n = std::get<0>(means).ndim() ? std::get<0>(means).shape(0) : 0;
  const py::ssize_t h = view.view.height, w = view.view.width, terms = (sh_degree + 1) * (sh_degree + 1);
  if (sh_degree < 0 || sh_degree > 3)
    throw py::value_error("sh_degree must be 0 to 3, not " + std::to_string(sh_degree));
  step.count = n;
  step.means = rows_of(means, {n, 3}, "means");
  step.quats = rows_of(quats, {n, 4}, "quats");
  step.log_scales = rows_of(log_scales, {n, 3}, "log_scales");
  step.logit_opacities = rows_of(logit_opacities, {n}, "logit_opacities");
  step.harmonics = rows_of(sh, {n, terms, 3}, "sh");
  step.sh_degree = sh_degree;
  if (sh_degree > 0 && !camera_position) throw py::value_error("spherical harmonics need camera_position");
  if (camera_position) std::copy_n(read(camera_position, {3}, "camera_position"), 3, step.camera_position);
  step.color = read(color, {h, w, 3}, "color");
  step.depth_halves = read(depth, {h, w}, "depth");
  step.mask = read(mask, {h, w}, "mask");
  std::copy_n(gain.data(), 3, step.gain), std::copy_n(offset.data(), 3, step.offset);
  std::copy_n(background.data(), 3, step.background);
  step.ssim_weight = ssim_weight, step.depth_weight = depth_weight, step.opacity_weight = opacity_weight;
  step.coverage_weight = coverage_weight;
  step.depth_min_alpha = depth_min_alpha, step.depth_max_error = depth_max_error;
  step.anisotropy_weight = anisotropy_weight, step.max_log_ratio = max_log_ratio;
  step.beta1 = beta1, step.beta2 = beta2, step.epsilon = epsilon, step.camera_wanted = camera_wanted;
  TrainingResult result;
  {
    py::gil_scoped_release release;
    result = train(step, threads);
  }
  double camera[12];
  for (int i = 0; i < 3; ++i) {
    std::copy_n(result.camera + 3 * i, 3, camera + 4 * i);
    camera[4 * i + 3] = result.camera[9 + i];
  }
  py::dict out;
  out["photometric"] = result.photometric;
  out["mse"] = result.squares;
  out["visible"] = result.visible;
  out["gain"] = array_of(result.exposure.gain, {3});
  out["offset"] = array_of(result.exposure.offset, {3});
  out["camera"] = array_of(camera, {3, 4});
  out["camera_position"] = array_of(result.camera_position, {3});
  return out;
}

}  // namespace

void bind_training(py::module_& m) {
  m.def("train_in_place", &train_in_place, py::arg("view"), py::kw_only(), py::arg("means").noconvert(),
        py::arg("quats").noconvert(), py::arg("log_scales").noconvert(), py::arg("logit_opacities").noconvert(),
        py::arg("sh").noconvert(), py::arg("sh_degree"), py::arg("camera_position").noconvert(),
        py::arg("color").noconvert(), py::arg("depth").noconvert(), py::arg("mask").noconvert(), py::arg("gain"),
        py::arg("offset"), py::arg("background"), py::arg("ssim_weight"), py::arg("depth_weight"),
        py::arg("depth_min_alpha"), py::arg("depth_max_error"), py::arg("opacity_weight"), py::arg("coverage_weight"),
        py::arg("anisotropy_weight"), py::arg("max_log_ratio"), py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"),
        py::arg("camera_wanted"), py::arg("threads"),
        "One photometric step: renders, compares, and moves the parameters and Adam's moments in place.");
}

}  // namespace cgc
