// A training step over threads. Results do not depend on their number: sums are made per chunk and added in order.
#include "training.h"

#include <algorithm>

#include "thread_pool.h"

namespace cgc {
namespace {

constexpr int64_t kPixelChunk = 4096;

template <class Body>
void for_chunks(int64_t count, int64_t size, int threads, Body body) {
  parallel_for((count + size - 1) / size, threads,
               [&](int64_t c, int worker) { body(c, c * size, std::min(count, (c + 1) * size), worker); });
}

// Gradients of the rendered colour and depth, into the target's arrays; `counting`: pixels of the mask.
void compare(const TrainingStep& step, const TargetPixels& pixels, int64_t counting, TrainingResult& result,
             int threads) {
  const KernelTable& k = kernels();
  const int64_t chunks = (pixels.count + kPixelChunk - 1) / kPixelChunk;
  std::vector<ExposureSums> sums(chunks);
  for_chunks(pixels.count, kPixelChunk, threads,
             [&](int64_t c, int64_t begin, int64_t end, int) { k.expose_pixels(pixels, begin, end, sums[c]); });
  result.photometric = photometric_loss(step.view.width, step.view.height, pixels.exposed, pixels.target, step.mask,
                                        step.ssim_weight, pixels.color_gradient, threads);
  int64_t with_depth = 0;
  for (const ExposureSums& part : sums) result.squares += part.squares, with_depth += part.with_depth;
  result.squares /= 3.0 * double(std::max<int64_t>(1, counting));
  const float depth_scale = step.depth_weight / float(std::max<int64_t>(1, with_depth));
  std::vector<ExposureGradient> gradients(chunks);
  for_chunks(pixels.count, kPixelChunk, threads, [&](int64_t c, int64_t begin, int64_t end, int) {
    k.loss_gradient_pixels(pixels, depth_scale, begin, end, gradients[c]);
  });
  for (const ExposureGradient& part : gradients)
    for (int j = 0; j < 3; ++j) {
      result.exposure.gain[j] += part.gain[j];
      result.exposure.offset[j] += part.offset[j];
    }
}

// From the gradients of pairs to moved Gaussians, a chunk at a time: its gradients stay in the processor's caches.
void move_gaussians(const TrainingStep& step, const RenderInput& input, const Render& render, const Array<float>& pairs,
                    TrainingResult& result, int threads) {
  const KernelTable& k = kernels();
  const ProjectedView& view = render.view();
  const Gaussians& all = input.gaussians;
  const int row = 3 * input.color.num_coefficients;
  const bool directional = step.sh_degree > 0;
  const TrainingUpdate update{step.means,
                              step.quats,
                              step.log_scales,
                              step.logit_opacities,
                              step.harmonics,
                              all.scales,
                              all.opacities,
                              view.radii(),
                              step.mask != nullptr,
                              step.beta1,
                              step.beta2,
                              step.epsilon,
                              step.opacity_weight / float(std::max<int64_t>(1, result.visible)),
                              step.anisotropy_weight / float(std::max<int64_t>(1, step.count)),
                              step.max_log_ratio};
  const int64_t chunks = (step.count + kChunk - 1) / kChunk;
  struct CameraSums {
    double camera[12] = {}, position[3] = {};
  };
  std::vector<CameraSums> cameras(chunks);
  const size_t floats = size_t(kChunk) * (3 + 3 + 4 + 3 + 1 + 3 + row);
  Array<float> scratch(floats * threads);
  for_chunks(step.count, kChunk, threads, [&](int64_t c, int64_t begin, int64_t end, int worker) {
    float* colors = scratch.data() + floats * worker;
    float* directions = colors + 3 * kChunk;
    ChunkGradients g{};
    g.means = directions + 3 * kChunk;
    g.directions = directional ? directions : nullptr;
    g.quats = g.means + 3 * kChunk;
    g.scales = g.quats + 4 * kChunk;
    g.opacities = g.scales + 3 * kChunk;
    g.harmonics = g.opacities + kChunk;

    // The chunk as a scene of its own: rows count from its first.
    const Gaussians part{end - begin, all.means + 3 * begin, all.quats + 4 * begin, all.scales + 3 * begin,
                         all.opacities + begin};
    ProjectionGradients out{};
    out.first_slot = view.first_slot() + begin;
    out.pairs = pairs.data();
    out.channels = Render::channels_of(input);
    out.stride = Render::pair_stride(out.channels);
    out.means = g.means, out.quats = g.quats, out.scales = g.scales, out.opacities = g.opacities, out.colors = colors;
    const Projection projection{input.view, part, nullptr, nullptr, nullptr, nullptr};
    k.project_backward(projection, out, 0, part.count, step.camera_wanted ? cameras[c].camera : nullptr);

    Harmonics harmonics{step.sh_degree, input.color.num_coefficients, input.color.coefficients + begin * row,
                        part.means,     view.radii() + begin,         {}};
    std::copy_n(step.camera_position, 3, harmonics.camera_position);
    k.harmonics_backward(harmonics, 0, part.count, view.splats() + begin, colors, g.harmonics,
                         directional ? directions : nullptr, cameras[c].position);
    k.update_rows(update, g, begin, end);
  });
  for (const CameraSums& part : cameras) {
    for (int j = 0; j < 12; ++j) result.camera[j] += part.camera[j];
    for (int j = 0; j < 3; ++j) result.camera_position[j] += part.position[j];
  }
}

}  // namespace

TrainingResult train(const TrainingStep& step, int threads) {
  const KernelTable& k = kernels();
  const int64_t n = step.count, count = int64_t(step.view.width) * step.view.height;
  Array<float> scales(3 * n), opacities(n);
  const Activation activation{step.log_scales.value, step.logit_opacities.value, scales.data(), opacities.data()};
  for_chunks(n, kChunk, threads,
             [&](int64_t, int64_t begin, int64_t end, int) { k.activate_rows(activation, begin, end); });

  RenderInput input;
  input.view = step.view;
  input.gaussians = {n, step.means.value, step.quats.value, scales.data(), opacities.data()};
  input.color.coefficients = step.harmonics.value;
  input.color.num_coefficients = step.harmonics.width / 3;
  input.color.degree = step.sh_degree;
  std::copy_n(step.camera_position, 3, input.color.camera_position);
  input.depth = step.depth_halves != nullptr;
  input.background = step.background;
  Array<float> color(3 * count), alpha(count), depth(input.depth ? count : 0);
  RenderOutput output;
  output.color = color.data(), output.alpha = alpha.data();
  if (input.depth) output.depth = depth.data();
  const Render render(input, output, true, threads);

  TrainingResult result;
  for (int64_t i = 0; i < n; ++i) result.visible += render.view().radii()[i] > 0;
  Array<float> exposed(3 * count), target(3 * count), color_gradient(3 * count),
      depth_gradient(input.depth ? count : 0);
  TargetPixels pixels{count,
                      color.data(),
                      output.depth,
                      alpha.data(),
                      step.color,
                      step.depth_halves,
                      step.mask,
                      {},
                      {},
                      step.depth_min_alpha,
                      step.depth_max_error,
                      exposed.data(),
                      target.data(),
                      color_gradient.data(),
                      depth_gradient.data()};
  std::copy_n(step.gain, 3, pixels.gain), std::copy_n(step.offset, 3, pixels.offset);
  const int64_t counting = step.mask ? count - std::count(step.mask, step.mask + count, uint8_t(0)) : count;
  compare(step, pixels, counting, result, threads);

  RenderGradients gradients;
  gradients.color = color_gradient.data();
  if (input.depth) gradients.depth = depth_gradient.data();
  Array<float> alpha_gradient(step.coverage_weight > 0 ? count : 0);  // of the mean transparency
  const float pull = -step.coverage_weight / float(std::max<int64_t>(1, counting));
  if (!step.mask)
    std::fill_n(alpha_gradient.data(), alpha_gradient.size(), pull);
  else
    std::transform(step.mask, step.mask + alpha_gradient.size(), alpha_gradient.data(),
                   [pull](uint8_t counts) { return counts ? pull : 0.0f; });
  if (step.coverage_weight > 0) gradients.alpha = alpha_gradient.data();
  const Array<float> pairs = render.backward_tiles(input, output.depth, gradients, threads);
  move_gaussians(step, input, render, pairs, result, threads);
  return result;
}

}  // namespace cgc
