// Forward and backward pass of a view.
#include <algorithm>
#include <cstring>

#include "rasterizer.h"
#include "thread_pool.h"

namespace cgc {
namespace {

size_t whole_pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

Harmonics harmonics_job(const RenderInput& input, const int32_t* radii) {
  Harmonics job{
      input.color.degree, input.color.num_coefficients, input.color.coefficients, input.gaussians.means, radii, {}};
  std::copy_n(input.color.camera_position, 3, job.camera_position);
  return job;
}

template <class Body>
void for_chunks(int64_t count, int threads, Body body) {
  parallel_for((count + kChunk - 1) / kChunk, threads,
               [&](int64_t c, int) { body(c, c * kChunk, std::min(count, (c + 1) * kChunk)); });
}

}  // namespace

Channels Render::channels_of(const RenderInput& input) {
  return {input.features, input.num_features, input.color.given(), input.depth};
}

ForwardTiles Render::forward_job(const RenderInput& input, const RenderOutput& output) const {
  ForwardTiles job{};
  job.view = input.view;
  job.splats = view_.splats();
  job.lists = view_.lists();
  job.channels = channels_of(input);
  job.background = input.color.given() ? input.background : nullptr;
  job.color = output.color, job.features = output.features, job.depth = output.depth, job.alpha = output.alpha;
  job.transmittance = transmittance_.data(), job.stop = stop_.data();
  return job;
}

Render::Render(const RenderInput& input, const RenderOutput& output, bool keep, int threads)
    : view_(input.view, input.gaussians, input.color.plain, threads) {
  const KernelTable& k = kernels();
  const int64_t n = input.gaussians.count;
  if (input.color.coefficients) {
    const Harmonics job = harmonics_job(input, view_.radii());
    for_chunks(n, threads, [&](int64_t, int64_t begin, int64_t end) { k.harmonics(job, begin, end, view_.splats()); });
  }
  const int tiles = view_.num_tiles();
  if (keep) transmittance_.reset(size_t(tiles) * kTilePixels), stop_.reset(size_t(tiles) * kTilePixels);
  ForwardTiles job = forward_job(input, output);
  job.find_blocks = true;
  Array<float> pair_contribution;
  if (output.contribution) {
    pair_contribution.reset(view_.num_pairs());
    job.pair_contribution = pair_contribution.data();
  }
  const size_t scratch_bytes = whole_pages(k.forward_scratch(job.channels));
  Array<char> scratch(scratch_bytes * threads);
  std::vector<int64_t> blends(threads, 0);
  parallel_for(tiles, threads, [&](int64_t tile, int worker) {
    blends[worker] += k.forward_tile(job, int(tile), scratch.data() + worker * scratch_bytes);
  });
  for (int64_t b : blends) num_blends_ += b;
  if (output.radii) std::memcpy(output.radii, view_.radii(), n * sizeof(int32_t));
  if (output.contribution)
    for_chunks(n, threads, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = 0;
        for (int64_t s = view_.first_slot()[i]; s < view_.first_slot()[i + 1]; ++s) sum += pair_contribution[s];
        output.contribution[i] = sum;
      }
    });
}

Array<float> Render::backward_tiles(const RenderInput& input, const float* depth, const RenderGradients& gradients,
                                    int threads) const {
  const KernelTable& k = kernels();
  BackwardTiles job{};
  RenderOutput output;
  output.depth = const_cast<float*>(depth);
  job.forward = forward_job(input, output);
  job.color = gradients.color, job.features = gradients.features;
  job.depth = gradients.depth, job.alpha = gradients.alpha;
  job.stride = pair_stride(job.forward.channels);
  Array<float> pairs(size_t(view_.num_pairs()) * job.stride);
  job.pairs = pairs.data();
  const size_t scratch_bytes = whole_pages(k.backward_scratch(job.forward.channels));
  Array<char> scratch(scratch_bytes * threads);
  parallel_for(view_.num_tiles(), threads, [&](int64_t tile, int worker) {
    k.backward_tile(job, int(tile), scratch.data() + worker * scratch_bytes);
  });
  return pairs;
}

void Render::backward(const RenderInput& input, const float* depth, const RenderGradients& gradients,
                      int threads) const {
  const KernelTable& k = kernels();
  const int64_t n = input.gaussians.count;
  const Array<float> pairs = backward_tiles(input, depth, gradients, threads);
  const bool harmonic = input.color.coefficients != nullptr;
  Array<float> color_gradients, direction_gradients;
  ProjectionGradients out{};
  out.first_slot = view_.first_slot();
  out.pairs = pairs.data();
  out.channels = channels_of(input);
  out.stride = pair_stride(out.channels);
  out.means = gradients.means, out.quats = gradients.quats, out.scales = gradients.scales;
  out.opacities = gradients.opacities, out.features = gradients.features_in, out.means2d = gradients.means2d;
  out.colors = gradients.colors;
  const bool through_directions = harmonic && (gradients.means || gradients.camera_position);
  if (harmonic) {
    color_gradients.reset(3 * n);
    out.colors = color_gradients.data();
    if (through_directions) direction_gradients.reset(3 * n);
  }
  const Projection projection{input.view, input.gaussians, nullptr, nullptr, nullptr, nullptr};
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> camera(chunks * 12, 0.0), position(chunks * 3, 0.0);
  const Harmonics harmonics = harmonics_job(input, view_.radii());
  for_chunks(n, threads, [&](int64_t c, int64_t begin, int64_t end) {
    k.project_backward(projection, out, begin, end, gradients.camera ? &camera[12 * c] : nullptr);
    if (!harmonic) return;
    k.harmonics_backward(harmonics, begin, end, view_.splats(), color_gradients.data(), gradients.colors,
                         direction_gradients.data(), &position[3 * c]);
    if (gradients.means)
      for (int64_t i = 3 * begin; i < 3 * end; ++i) gradients.means[i] += direction_gradients[i];
  });
  if (gradients.camera) {
    double sum[12] = {};
    for (int64_t c = 0; c < chunks; ++c)
      for (int j = 0; j < 12; ++j) sum[j] += camera[12 * c + j];
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) gradients.camera[4 * i + j] = float(sum[3 * i + j]);
      gradients.camera[4 * i + 3] = float(sum[9 + i]);
    }
  }
  if (gradients.camera_position) {
    double sum[3] = {};
    for (int64_t c = 0; c < chunks; ++c)
      for (int j = 0; j < 3; ++j) sum[j] += position[3 * c + j];
    for (int j = 0; j < 3; ++j) gradients.camera_position[j] = float(sum[j]);
  }
}

void Render::write_transmittance(float* out) const {
  const View& view = view_.view();
  for (int64_t pixel = 0; pixel < int64_t(view.width) * view.height; ++pixel)
    out[pixel] = transmittance_[tile_order(view, pixel)];
}

size_t Render::bytes() const { return view_.bytes() + transmittance_.bytes() + stop_.bytes(); }

}  // namespace cgc
