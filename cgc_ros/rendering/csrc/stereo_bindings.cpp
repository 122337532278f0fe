// Plane-sweep stereo for Python.
#include <algorithm>
#include <memory>
#include <tuple>
#include <vector>

#include "python_arrays.h"
#include "stereo_matcher.h"

namespace cgc {
namespace {

using Image = py::array_t<float>;

void check_size(py::ssize_t width, py::ssize_t height) {
  if (width < 1 || height < 1)
    throw py::value_error("image size must be at least 1x1, not " + std::to_string(width) + "x" +
                          std::to_string(height));
}

std::unique_ptr<MatchLevel> make_level(In<float> reference, const std::vector<In<float>>& sources, In<float> columns,
                                       In<float> parallax, float noise, float hidden) {
  const auto count = py::ssize_t(sources.size());
  if (count > kMaxSources)
    throw py::value_error("at most " + std::to_string(kMaxSources) + " sources can be matched at once, not " +
                          std::to_string(count));
  const float* image = read(reference, {-1, -1}, "reference");
  const float* c = read(columns, {count, 3, 3}, "columns");
  const float* p = read(parallax, {count, 3}, "parallax");
  check_size(reference.shape(1), reference.shape(0));
  std::vector<SourceImage> images;
  for (py::ssize_t s = 0; s < count; ++s) {
    const float* grey = read(sources[s], {-1, -1}, "source");
    check_size(sources[s].shape(1), sources[s].shape(0));
    SourceImage source{int(sources[s].shape(1)), int(sources[s].shape(0)), grey, {}, {}};
    std::copy_n(c + 9 * s, 9, source.columns), std::copy_n(p + 3 * s, 3, source.parallax);
    images.push_back(source);
  }
  py::gil_scoped_release release;
  return std::make_unique<MatchLevel>(int(reference.shape(1)), int(reference.shape(0)), image, images, noise, hidden);
}

Image map_of(const MatchLevel& level) { return Image({level.grid().height, level.grid().width}); }

void check_window(int window) {
  if (window < 1 || window % 2 == 0)
    throw py::value_error("a window's side must be a positive odd number of pixels, not " + std::to_string(window));
}

py::tuple sweep(MatchLevel& level, const std::vector<float>& planes, int window,
                std::optional<std::tuple<float, float, float>> smoothing) {
  check_window(window);
  if (planes.size() < 3) throw py::value_error("a sweep needs at least 3 planes, not " + std::to_string(planes.size()));
  py::array_t<int32_t> index({level.grid().height, level.grid().width});
  Image position = map_of(level), lead = map_of(level), score = map_of(level);
  int32_t* to_index = index.mutable_data();
  float *to_position = position.mutable_data(), *to_lead = lead.mutable_data(), *to_score = score.mutable_data();
  {
    py::gil_scoped_release release;
    Smoothing steps{};
    if (smoothing) steps = {std::get<0>(*smoothing), std::get<1>(*smoothing), std::get<2>(*smoothing), nullptr};
    level.sweep(planes, window, smoothing ? &steps : nullptr, to_index, to_position, to_lead, to_score);
  }
  return py::make_tuple(index, position, lead, score);
}

py::tuple refined(MatchLevel& level, In<float> color, In<float> coarse_w, In<float> coarse_lead, Optional<float> prior,
                  int window, float step, float differs, int reach, float prior_lead, int taps, int stride,
                  float color_sigma, float nudge, float surface, float unique_lead, float min_confidence,
                  float min_parallax) {
  check_window(window);
  const py::ssize_t h = level.grid().height, w = level.grid().width;
  if (taps < 1 || taps > 7 || taps % 2 == 0 || stride < 1 || taps / 2 * stride > kMargin || reach > kMargin)
    throw py::value_error("support windows have 1, 3, 5 or 7 taps and reach at most " + std::to_string(kMargin) +
                          " pixels, not " + std::to_string(taps) + " taps, " + std::to_string(stride) +
                          " pixels apart");
  const float* colors = read(color, {3, h, w}, "color");
  const float* found_w = read(coarse_w, {-1, -1}, "coarse_w");
  const float* found_lead = read(coarse_lead, {coarse_w.shape(0), coarse_w.shape(1)}, "coarse_lead");
  check_size(coarse_w.shape(1), coarse_w.shape(0));
  const float* known = read(prior, {h, w}, "prior");
  Image depth = map_of(level), confidence = map_of(level);
  float *to_depth = depth.mutable_data(), *to_confidence = confidence.mutable_data();
  const RefineOptions options{window,      step,  differs, reach,       prior_lead,     taps,        stride,
                              color_sigma, nudge, surface, unique_lead, min_confidence, min_parallax};
  {
    py::gil_scoped_release release;
    refine(level, colors, int(coarse_w.shape(1)), int(coarse_w.shape(0)), found_w, found_lead, known, options, to_depth,
           to_confidence);
  }
  return py::make_tuple(depth, confidence);
}

Image resized_bytes(In<uint8_t> image, int width, int height, bool color) {
  const uint8_t* bytes = read(image, {-1, -1, 3}, "image");
  check_size(width, height), check_size(image.shape(1), image.shape(0));
  std::vector<py::ssize_t> shape{height, width};
  if (color) shape.insert(shape.begin(), 3);
  Image out(shape);
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  resize_bytes(bytes, int(image.shape(1)), int(image.shape(0)), color, width, height, to);
  return out;
}

Image resized_grey(In<float> image, int width, int height) {
  const float* grey = read(image, {-1, -1}, "image");
  check_size(width, height), check_size(image.shape(1), image.shape(0));
  Image out({height, width});
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  resize_grey(grey, int(image.shape(1)), int(image.shape(0)), width, height, to);
  return out;
}

py::tuple enlarged(In<float> w, In<float> confidence, int width, int height, float surface) {
  const float* from = read(w, {-1, -1}, "w");
  const float* sure = read(confidence, {w.shape(0), w.shape(1)}, "confidence");
  check_size(width, height), check_size(w.shape(1), w.shape(0));
  Image depth({height, width}), out_sure({height, width});
  float *to_depth = depth.mutable_data(), *to_sure = out_sure.mutable_data();
  {
    py::gil_scoped_release release;
    enlarge(from, sure, Grid(int(w.shape(1)), int(w.shape(0))), surface, width, height, to_depth, to_sure);
  }
  return py::make_tuple(depth, out_sure);
}

}  // namespace

void bind_stereo(py::module_& m) {
  py::class_<MatchLevel>(m, "MatchLevel", "Reference and sources at one working size.")
      .def(py::init(&make_level), py::arg("reference").noconvert(), py::arg("sources"), py::arg("columns").noconvert(),
           py::arg("parallax").noconvert(), py::kw_only(), py::arg("noise"), py::arg("hidden"),
           "Sources are NaN where they match nothing.")
      .def(
          "contrast",
          [](MatchLevel& level, int window) {
            check_window(window);
            Image out = map_of(level);
            float* to = out.mutable_data();
            py::gil_scoped_release release;
            level.contrast(window, to);
            return out;
          },
          py::arg("window"))
      .def(
          "plane_scores",
          [](MatchLevel& level, const std::vector<float>& planes, int window) {
            check_window(window);
            Image out({int(planes.size()), level.grid().height, level.grid().width});
            float* to = out.mutable_data();
            py::gil_scoped_release release;
            level.plane_scores(planes, window, to);
            return out;
          },
          py::arg("planes"), py::arg("window"))
      .def(
          "sweep", &sweep, py::arg("planes"), py::kw_only(), py::arg("window"), py::arg("smoothing") = py::none(),
          "Index, position, lead and score of each pixel's best plane, [h, w] each. smoothing: small_step, large_step, "
          "edge.")
      .def("refine", &refined, py::arg("color").noconvert(), py::arg("coarse_w").noconvert(),
           py::arg("coarse_lead").noconvert(), py::arg("prior").noconvert() = py::none(), py::kw_only(),
           py::arg("window"), py::arg("step"), py::arg("differs"), py::arg("reach"), py::arg("prior_lead"),
           py::arg("taps"), py::arg("stride"), py::arg("color_sigma"), py::arg("nudge"), py::arg("surface"),
           py::arg("unique_lead"), py::arg("min_confidence"), py::arg("min_parallax"),
           "Inverse depth and confidence, [h, w] each.");
  m.def("resized_bytes", &resized_bytes, py::arg("image").noconvert(), py::kw_only(), py::arg("width"),
        py::arg("height"), py::arg("color"), "[3, h, w] in color or [h, w] in grey, 0..1, low-passed.");
  m.def("resized_grey", &resized_grey, py::arg("image").noconvert(), py::kw_only(), py::arg("width"), py::arg("height"),
        "[h, w], low-passed.");
  m.def("enlarged_depth", &enlarged, py::arg("w").noconvert(), py::arg("confidence").noconvert(), py::kw_only(),
        py::arg("width"), py::arg("height"), py::arg("surface"), "Depth and confidence, [height, width] each.");
}

}  // namespace cgc
