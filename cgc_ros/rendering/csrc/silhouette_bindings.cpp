// Silhouettes of meshes for Python.
#include <vector>

#include "python_arrays.h"

namespace cgc {
namespace {

std::vector<MeshPart> parts_of(const In<float>& vertices, const In<int32_t>& faces, const In<int64_t>& ranges,
                               const In<float>& camera_from_part, const In<float>& reach) {
  const int64_t num_vertices = (read(vertices, {-1, 3}, "vertices"), vertices.shape(0));
  const int32_t* corners = read(faces, {-1, 3}, "faces");
  const int64_t* range = read(ranges, {-1, 5}, "ranges");
  const py::ssize_t count = ranges.shape(0);
  const float* pose = read(camera_from_part, {count, 3, 4}, "camera_from_part");
  const float* widening = read(reach, {count}, "reach");
  std::vector<MeshPart> parts;
  for (py::ssize_t p = 0; p < count; ++p) {
    MeshPart part{range[5 * p], range[5 * p + 1], range[5 * p + 2], range[5 * p + 3], range[5 * p + 4] != 0,
                  {},           widening[p]};
    std::copy_n(pose + 12 * p, 12, part.camera_from_part);
    const bool fits = part.first_vertex >= 0 && part.num_vertices >= 0 && part.first_face >= 0 && part.num_faces >= 0 &&
                      part.first_vertex + part.num_vertices <= num_vertices &&
                      part.first_face + part.num_faces <= faces.shape(0);
    if (!fits) throw py::index_error("part " + std::to_string(p) + " has vertices or faces that are not there");
    for (int64_t k = 3 * part.first_face; k < 3 * (part.first_face + part.num_faces); ++k)
      if (corners[k] < part.first_vertex || corners[k] >= part.first_vertex + part.num_vertices)
        throw py::index_error("face " + std::to_string(k / 3) + " has a vertex that is none of its part");
    parts.push_back(part);
  }
  return parts;
}

py::tuple silhouette(In<float> vertices, In<int32_t> faces, In<int64_t> ranges, In<float> camera_from_part,
                     In<float> reach, float offset, int width, int height, double fx, double fy, double cx, double cy,
                     float near) {
  if (width < 1 || height < 1)
    throw py::value_error("image size must be at least 1x1, not " + std::to_string(width) + "x" +
                          std::to_string(height));
  if (!(near > 0)) throw py::value_error("near must be positive, not " + std::to_string(near));
  const std::vector<MeshPart> parts = parts_of(vertices, faces, ranges, camera_from_part, reach);
  py::array_t<float> inverse_depth({height, width});
  py::array_t<bool> mask({height, width});
  const size_t pixels = size_t(width) * height;
  std::vector<float> radii(pixels);
  std::vector<int16_t> scratch(pixels);
  MeshDrawing drawing{
      width, height, fx, fy, cx, cy, near, vertices.data(), faces.data(), inverse_depth.mutable_data(), radii.data()};
  auto* out = reinterpret_cast<uint8_t*>(mask.mutable_data());
  {
    py::gil_scoped_release release;
    std::fill_n(drawing.inverse_depth, pixels, 0.0f);
    std::fill_n(out, pixels, uint8_t(0));
    for (const MeshPart& part : parts) kernels().draw_part(drawing, part);
    kernels().widen({width, height, drawing.inverse_depth, drawing.reach, offset, scratch.data(), out});
  }
  return py::make_tuple(inverse_depth, mask);
}

}  // namespace

void bind_silhouette(py::module_& m) {
  m.def("silhouette", &silhouette, py::arg("vertices").noconvert(), py::arg("faces").noconvert(),
        py::arg("ranges").noconvert(), py::arg("camera_from_part").noconvert(), py::arg("reach").noconvert(),
        py::kw_only(), py::arg("offset"), py::arg("width"), py::arg("height"), py::arg("fx"), py::arg("fy"),
        py::arg("cx"), py::arg("cy"), py::arg("near"),
        "Inverse depth of the nearest surface [H, W] (0: none), and the widened silhouette [H, W] bool. ranges [P, 5]: "
        "first vertex, vertices, first face, faces, closed.");
}

}  // namespace cgc
