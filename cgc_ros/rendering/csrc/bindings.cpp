// The Python module: numpy arrays in and out, sizes checked, the interpreter's lock released while kernels run.
#include <algorithm>

#include "python_arrays.h"
#include "thread_pool.h"

namespace {

using namespace cgc;

// Everything that is rendered; holds references to the arrays so that backward() sees the very same ones.
struct PyScene {
  In<float> means, quats, scales, opacities;
  Optional<float> colors, features, background;
  RenderInput input;

  PyScene(const PyView& view, In<float> means_, In<float> quats_, In<float> scales_, In<float> opacities_,
          Optional<float> colors_, int sh_degree, Optional<float> camera_position, Optional<float> features_,
          bool depth, Optional<float> background_)
      : means(means_),
        quats(quats_),
        scales(scales_),
        opacities(opacities_),
        colors(colors_),
        features(features_),
        background(background_) {
    input.view = view.view;
    input.gaussians = gaussians_of(means, quats, scales, opacities);
    const py::ssize_t n = input.gaussians.count;
    if (colors && sh_degree < 0) {
      input.color.plain = read(colors, {n, 3}, "colors");
    } else if (colors) {
      if (sh_degree > 3) throw py::value_error("sh_degree must be 0 to 3, not " + std::to_string(sh_degree));
      input.color.coefficients = read(colors, {n, -1, 3}, "colors");
      input.color.num_coefficients = int(colors->shape(1));
      input.color.degree = sh_degree;
      if (input.color.num_coefficients < (sh_degree + 1) * (sh_degree + 1))
        throw py::value_error("colors hold " + std::to_string(input.color.num_coefficients) +
                              " coefficients, too few for sh_degree=" + std::to_string(sh_degree));
      if (!camera_position) throw py::value_error("spherical harmonics need camera_position");
      std::copy_n(read(camera_position, {3}, "camera_position"), 3, input.color.camera_position);
    }
    input.features = read(features, {n, -1}, "features");
    input.num_features = features ? int(features->shape(1)) : 0;
    input.depth = depth;
    input.background = read(background, {3}, "background");
  }
};

struct PyRender {
  std::shared_ptr<PyScene> scene;
  std::unique_ptr<Render> render;
};

}  // namespace

PYBIND11_MODULE(_kernels, m) {
  m.doc() = "CPU kernels of cgc_ros.rendering";

  py::class_<PyView>(m, "View").def(py::init<int, int, double, double, double, double, double, const In<float>&>(),
                                    py::arg("width"), py::arg("height"), py::arg("fx"), py::arg("fy"), py::arg("cx"),
                                    py::arg("cy"), py::arg("blur"), py::arg("camera_from_world").noconvert());

  py::class_<PyScene, std::shared_ptr<PyScene>>(m, "Scene")
      .def(py::init<const PyView&, In<float>, In<float>, In<float>, In<float>, Optional<float>, int, Optional<float>,
                    Optional<float>, bool, Optional<float>>(),
           py::arg("view"), py::arg("means").noconvert(), py::arg("quats").noconvert(), py::arg("scales").noconvert(),
           py::arg("opacities").noconvert(), py::arg("colors").noconvert(), py::arg("sh_degree"),
           py::arg("camera_position").noconvert(), py::arg("features").noconvert(), py::arg("depth"),
           py::arg("background").noconvert());

  py::class_<PyRender>(m, "Render")
      .def_property_readonly("num_blends", [](const PyRender& r) { return r.render->num_blends(); })
      .def_property_readonly("num_pairs", [](const PyRender& r) { return r.render->view().num_pairs(); })
      .def("transmittance",
           [](const PyRender& r) {
             const View& view = r.render->view().view();
             py::array_t<float> out({view.height, view.width});
             r.render->write_transmittance(out.mutable_data());
             return out;
           })
      .def_property_readonly("bytes", [](const PyRender& r) { return r.render->bytes(); })
      .def(
          "backward",
          [](const PyRender& r, Optional<float> depth, Optional<float> v_color, Optional<float> v_features,
             Optional<float> v_depth, Optional<float> v_alpha, Optional<float> means, Optional<float> quats,
             Optional<float> scales, Optional<float> opacities, Optional<float> colors, Optional<float> features,
             Optional<float> camera, Optional<float> camera_position, Optional<float> means2d, int threads) {
            const RenderInput& input = r.scene->input;
            const py::ssize_t h = input.view.height, w = input.view.width, n = input.gaussians.count;
            const py::ssize_t f = input.num_features, k = input.color.num_coefficients;
            RenderGradients g;
            g.color = read(v_color, {h, w, 3}, "color gradient");
            g.features = read(v_features, {h, w, f}, "feature gradient");
            g.depth = read(v_depth, {h, w}, "depth gradient");
            g.alpha = read(v_alpha, {h, w}, "alpha gradient");
            if (v_depth && !depth) throw py::value_error("a depth gradient needs the rendered depth");
            g.means = write(means, {n, 3}, "means");
            g.quats = write(quats, {n, 4}, "quats");
            g.scales = write(scales, {n, 3}, "scales");
            g.opacities = write(opacities, {n}, "opacities");
            if (colors && k) g.colors = write(colors, {n, k, 3}, "colors");
            if (colors && !k) g.colors = write(colors, {n, 3}, "colors");
            g.features_in = write(features, {n, f}, "features");
            g.camera = write(camera, {3, 4}, "camera");
            g.camera_position = write(camera_position, {3}, "camera_position");
            g.means2d = write(means2d, {n, 2}, "means2d");
            const float* rendered_depth = read(depth, {h, w}, "depth");
            py::gil_scoped_release release;
            r.render->backward(input, rendered_depth, g, threads);
          },
          py::kw_only(), py::arg("depth").noconvert() = py::none(), py::arg("v_color").noconvert() = py::none(),
          py::arg("v_features").noconvert() = py::none(), py::arg("v_depth").noconvert() = py::none(),
          py::arg("v_alpha").noconvert() = py::none(), py::arg("means").noconvert() = py::none(),
          py::arg("quats").noconvert() = py::none(), py::arg("scales").noconvert() = py::none(),
          py::arg("opacities").noconvert() = py::none(), py::arg("colors").noconvert() = py::none(),
          py::arg("features").noconvert() = py::none(), py::arg("camera").noconvert() = py::none(),
          py::arg("camera_position").noconvert() = py::none(), py::arg("means2d").noconvert() = py::none(),
          py::arg("threads") = 1);

  m.def(
      "render",
      [](std::shared_ptr<PyScene> scene, Optional<float> color, Optional<float> features, Optional<float> depth,
         In<float> alpha, In<int32_t> radii, Optional<float> contribution, bool keep, int threads) {
        const RenderInput& input = scene->input;
        const py::ssize_t h = input.view.height, w = input.view.width, n = input.gaussians.count;
        if (bool(color) != input.color.given() || bool(features) != (input.features != nullptr) ||
            bool(depth) != input.depth)
          throw py::value_error("outputs must match the scene's channels");
        RenderOutput out;
        out.color = write(color, {h, w, 3}, "color");
        out.features = write(features, {h, w, input.num_features}, "features");
        out.depth = write(depth, {h, w}, "depth");
        out.alpha = write(alpha, {h, w}, "alpha");
        out.radii = write(radii, {n}, "radii");
        out.contribution = write(contribution, {n}, "contribution");
        py::gil_scoped_release release;
        return std::make_unique<PyRender>(PyRender{scene, std::make_unique<Render>(input, out, keep, threads)});
      },
      py::arg("scene"), py::kw_only(), py::arg("color").noconvert(), py::arg("features").noconvert(),
      py::arg("depth").noconvert(), py::arg("alpha").noconvert(), py::arg("radii").noconvert(),
      py::arg("contribution").noconvert(), py::arg("keep"), py::arg("threads"));

  m.def(
      "pixel_weights",
      [](const PyView& view, In<float> means, In<float> quats, In<float> scales, In<float> opacities,
         In<int64_t> pixels, int threads) {
        const Gaussians g = gaussians_of(means, quats, scales, opacities);
        const int64_t* at = read(pixels, {-1}, "pixels");
        const int64_t n = pixels.shape(0);
        for (int64_t p = 0; p < n; ++p)
          if (at[p] < 0 || at[p] >= view.pixels())
            throw py::index_error("pixel " + std::to_string(at[p]) + " lies outside the image of " +
                                  std::to_string(view.pixels()) + " pixels");
        PixelWeights weights;
        {
          py::gil_scoped_release release;
          weights = pixel_weights(view.view, g, at, n, threads);
        }
        const auto nnz = py::ssize_t(weights.values.size());
        py::array_t<int64_t> offsets(n + 1);
        py::array_t<int32_t> gaussians(nnz);
        py::array_t<float> values(nnz);
        std::copy(weights.offsets.begin(), weights.offsets.end(), offsets.mutable_data());
        std::copy_n(weights.gaussians.data(), nnz, gaussians.mutable_data());
        std::copy_n(weights.values.data(), nnz, values.mutable_data());
        return py::make_tuple(offsets, gaussians, values);
      },
      py::arg("view"), py::arg("means").noconvert(), py::arg("quats").noconvert(), py::arg("scales").noconvert(),
      py::arg("opacities").noconvert(), py::arg("pixels").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "mask_votes",
      [](const PyView& view, In<float> means, In<float> quats, In<float> scales, In<float> opacities,
         In<int32_t> labels, In<float> votes, int threads) {
        const Gaussians g = gaussians_of(means, quats, scales, opacities);
        const int32_t* in = read(labels, {view.view.height, view.view.width}, "labels");
        float* out = write(votes, {g.count, -1}, "votes");
        const int num_labels = int(votes.shape(1));
        py::gil_scoped_release release;
        mask_votes(view.view, g, in, num_labels, out, threads);
      },
      "Adds to `votes` [N, num_labels].", py::arg("view"), py::arg("means").noconvert(), py::arg("quats").noconvert(),
      py::arg("scales").noconvert(), py::arg("opacities").noconvert(), py::arg("labels").noconvert(),
      py::arg("votes").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "label_image",
      [](const PyView& view, In<float> means, In<float> quats, In<float> scales, In<float> opacities,
         In<int32_t> object_ids, In<int32_t> labels, In<float> confidence, In<float> depth, int threads) {
        const Gaussians g = gaussians_of(means, quats, scales, opacities);
        const int h = view.view.height, w = view.view.width;
        const int32_t* ids = read(object_ids, {g.count}, "object_ids");
        int32_t* out_labels = write(labels, {h, w}, "labels");
        float* out_confidence = write(confidence, {h, w}, "confidence");
        float* out_depth = write(depth, {h, w}, "depth");
        py::gil_scoped_release release;
        label_image(view.view, g, ids, out_labels, out_confidence, out_depth, threads);
      },
      py::arg("view"), py::arg("means").noconvert(), py::arg("quats").noconvert(), py::arg("scales").noconvert(),
      py::arg("opacities").noconvert(), py::arg("object_ids").noconvert(), py::arg("labels").noconvert(),
      py::arg("confidence").noconvert(), py::arg("depth").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "blend_values",
      [](In<int64_t> offsets, In<int32_t> gaussians, In<float> weights, In<float> values, In<float> out, int threads) {
        const int64_t pixels = offsets.size() - 1;
        const int64_t* at = read(offsets, {-1}, "offsets");
        const int32_t* g = read(gaussians, {-1}, "gaussians");
        const float* w = read(weights, {gaussians.shape(0)}, "weights");
        const float* in = read(values, {-1, -1}, "values");
        float* to = write(out, {pixels, values.shape(1)}, "out");
        const int channels = int(values.shape(1));
        py::gil_scoped_release release;
        blend_values(at, g, w, pixels, in, channels, to, threads);
      },
      py::arg("offsets").noconvert(), py::arg("gaussians").noconvert(), py::arg("weights").noconvert(),
      py::arg("values").noconvert(), py::arg("out").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "blend_values_backward",
      [](In<int64_t> offsets, In<int32_t> gaussians, In<float> weights, In<float> gradient, In<float> out,
         int threads) {
        const int64_t pixels = offsets.size() - 1;
        const int64_t* at = read(offsets, {-1}, "offsets");
        const int32_t* g = read(gaussians, {-1}, "gaussians");
        const float* w = read(weights, {gaussians.shape(0)}, "weights");
        const float* in = read(gradient, {pixels, -1}, "gradient");
        float* to = write(out, {-1, gradient.shape(1)}, "out");
        const int channels = int(gradient.shape(1));
        const int64_t count = out.shape(0);
        py::gil_scoped_release release;
        blend_values_backward(at, g, w, pixels, in, channels, to, count, threads);
      },
      py::arg("offsets").noconvert(), py::arg("gaussians").noconvert(), py::arg("weights").noconvert(),
      py::arg("gradient").noconvert(), py::arg("out").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "photometric_loss",
      [](In<float> rendered, In<float> target, Optional<uint8_t> mask, float ssim_weight, Optional<float> gradient,
         int threads) {
        const float* x = read(rendered, {-1, -1, 3}, "rendered");
        const py::ssize_t h = rendered.shape(0), w = rendered.shape(1);
        const float* y = read(target, {h, w, 3}, "target");
        const uint8_t* keep = read(mask, {h, w}, "mask");
        float* out = write(gradient, {h, w, 3}, "gradient");
        py::gil_scoped_release release;
        return photometric_loss(int(w), int(h), x, y, keep, ssim_weight, out, threads);
      },
      py::arg("rendered").noconvert(), py::arg("target").noconvert(), py::arg("mask").noconvert(),
      py::arg("ssim_weight"), py::arg("gradient").noconvert(), py::kw_only(), py::arg("threads"));

  m.def(
      "adam_update",
      [](In<float> parameter, In<float> first, In<float> second, In<float> gradient, Optional<uint8_t> moving,
         bool touched_only, float rate, float beta1, float beta2, float epsilon, int threads) {
        const py::ssize_t n = parameter.ndim() == 2 ? parameter.shape(0) : 0,
                          width = parameter.ndim() == 2 ? parameter.shape(1) : 0;
        AdamRows rows{width,
                      read(moving, {n}, "moving"),
                      touched_only,
                      read(gradient, {n, width}, "gradient"),
                      write(parameter, {n, width}, "parameter"),
                      write(first, {n, width}, "first"),
                      write(second, {n, width}, "second"),
                      rate,
                      beta1,
                      beta2,
                      epsilon};
        py::gil_scoped_release release;
        const KernelTable& table = kernels();
        const int64_t chunk = 4096;
        parallel_for((n + chunk - 1) / chunk, threads, [&](int64_t item, int) {
          table.adam_rows(rows, item * chunk, std::min<int64_t>((item + 1) * chunk, n));
        });
      },
      py::arg("parameter").noconvert(), py::arg("first").noconvert(), py::arg("second").noconvert(),
      py::arg("gradient").noconvert(), py::arg("moving").noconvert(), py::arg("touched_only"), py::arg("rate"),
      py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"), py::kw_only(), py::arg("threads"),
      "One Adam update in place, of the rows in `moving` (None: all).");
  bind_training(m);
  bind_stereo(m);
  bind_carving(m);
  bind_silhouette(m);
  m.def("instruction_set", [] { return std::string(kernels().name); }, "The one in use.");
  m.def("use_instruction_set", [](const std::string& name) { use_kernels(name.c_str()); }, "For tests and benchmarks.");
  m.def(
      "instruction_sets",
      [] {
        const char* names[4];
        const int n = kernel_names(names, 4);
        return std::vector<std::string>(names, names + n);
      },
      "Those that can run here, best first.");
}
