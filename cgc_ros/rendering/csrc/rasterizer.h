// The rasteriser: owns a view's lists and runs the kernels over threads. Results do not depend on the number of
// threads.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "kernels.h"

namespace cgc {

// Large arrays come and go with every render: released ones are kept for the next (at most 256 MiB in all), since fresh
// pages from the system cost more than what is computed in them. Content is left as it comes.
void* take_memory(size_t bytes);
void release_memory(void* memory, size_t bytes);

// Null only before the first reset: no elements are an address, too.
template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(size_t count) { reset(count); }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept { return swap(other), *this; }
  ~Array() { free(); }
  void reset(size_t count) {
    free();
    data_ = static_cast<T*>(take_memory(count * sizeof(T)));
    count_ = count;
  }
  T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) const { return data_[i]; }
  size_t bytes() const { return count_ * sizeof(T); }

 private:
  void swap(Array& other) { std::swap(data_, other.data_), std::swap(count_, other.count_); }
  void free() {
    if (data_) release_memory(data_, count_ * sizeof(T));
    data_ = nullptr, count_ = 0;
  }
  T* data_ = nullptr;
  size_t count_ = 0;
};

// Gaussians as one camera sees them: what every kind of render starts from.
class ProjectedView {
 public:
  ProjectedView(const View& view, const Gaussians& gaussians, const float* colors, int threads);

  const View& view() const { return view_; }
  int num_tiles() const { return view_.tiles_x() * view_.tiles_y(); }
  int64_t num_pairs() const { return int64_t(pair_gaussian_.size()); }
  const int32_t* radii() const { return radii_.data(); }
  Splat* splats() const { return splats_.data(); }
  const int32_t* first_slot() const { return first_slot_.data(); }
  TileLists lists() const {
    return {tile_first_.data(), pair_gaussian_.data(), pair_slot_.data(), pair_blocks_.data()};
  }
  size_t bytes() const;

 private:
  View view_;
  Array<Splat> splats_;
  Array<int32_t> radii_;
  Array<int32_t> first_slot_;     // [N + 1]: pairs in the order of Gaussian indices
  Array<int32_t> tile_first_;     // [tiles + 1]
  Array<int32_t> pair_gaussian_;  // pairs in the order of tiles, front to back
  Array<int32_t> pair_slot_;
  Array<uint32_t> pair_blocks_;
};

struct ColorInput {
  const float* plain = nullptr;         // [N, 3], or
  const float* coefficients = nullptr;  // [N, K, 3] with
  int num_coefficients = 0;             // K
  int degree = 0;
  float camera_position[3] = {0, 0, 0};
  bool given() const { return plain || coefficients; }
};

struct RenderInput {
  View view;
  Gaussians gaussians;
  ColorInput color;
  const float* features = nullptr;  // [N, F]
  int num_features = 0;
  bool depth = false;
  const float* background = nullptr;  // [3]
};

struct RenderOutput {
  float* color = nullptr;         // [H, W, 3]
  float* features = nullptr;      // [H, W, F]
  float* depth = nullptr;         // [H, W]
  float* alpha = nullptr;         // [H, W]
  int32_t* radii = nullptr;       // [N]
  float* contribution = nullptr;  // [N]
};

struct RenderGradients {
  // Of the outputs; null = zero.
  const float* color = nullptr;
  const float* features = nullptr;
  const float* depth = nullptr;
  const float* alpha = nullptr;
  // Of the inputs; null = not wanted.
  float* means = nullptr;
  float* quats = nullptr;
  float* scales = nullptr;
  float* opacities = nullptr;
  float* colors = nullptr;           // [N, 3] or [N, K, 3]
  float* features_in = nullptr;      // [N, F]
  float* camera = nullptr;           // [3, 4] camera from world
  float* camera_position = nullptr;  // [3], through spherical harmonics
  float* means2d = nullptr;          // [N, 2]
};

// One render, kept for its backward pass.
class Render {
 public:
  Render(const RenderInput& input, const RenderOutput& output, bool keep, int threads);
  // `input` and `depth` (the rendered one) as they were in the forward pass.
  void backward(const RenderInput& input, const float* depth, const RenderGradients& gradients, int threads) const;
  // The same up to the gradients of each pair of Gaussian and tile, [pairs, pair_stride] by slot.
  Array<float> backward_tiles(const RenderInput& input, const float* depth, const RenderGradients& gradients,
                              int threads) const;
  static Channels channels_of(const RenderInput& input);
  static int pair_stride(const Channels& channels) { return 8 + channels.stride(); }

  void write_transmittance(float* out) const;  // [H, W] behind everything, where `keep` was set

  const ProjectedView& view() const { return view_; }
  int64_t num_blends() const { return num_blends_; }
  size_t bytes() const;

 private:
  ForwardTiles forward_job(const RenderInput& input, const RenderOutput& output) const;

  ProjectedView view_;
  Array<float> transmittance_;
  Array<int32_t> stop_;
  int64_t num_blends_ = 0;
};

// Where a pixel (flat index) stands in the order of tiles, blocks and lanes.
int64_t tile_order(const View& view, int64_t pixel);

struct PixelWeights {
  std::vector<int64_t> offsets;  // [P + 1]
  Array<int32_t> gaussians;
  Array<float> values;
};

// Weights at pixels (flat indices; any order, repeats allowed).
PixelWeights pixel_weights(const View& view, const Gaussians& gaussians, const int64_t* pixels, int64_t num_pixels,
                           int threads);

// votes [N, num_labels] += sums of weights inside each label.
void mask_votes(const View& view, const Gaussians& gaussians, const int32_t* labels, int num_labels, float* votes,
                int threads);

void label_image(const View& view, const Gaussians& gaussians, const int32_t* object_ids, int32_t* labels,
                 float* confidence, float* depth, int threads);

// out[p] = sum of weight * values[gaussian], and its transpose (which adds to `out`).
void blend_values(const int64_t* offsets, const int32_t* gaussians, const float* weights, int64_t num_pixels,
                  const float* values, int channels, float* out, int threads);
void blend_values_backward(const int64_t* offsets, const int32_t* gaussians, const float* weights, int64_t num_pixels,
                           const float* gradient, int channels, float* out, int64_t count, int threads);

// (1 - w) L1 + w (1 - SSIM) and its gradient by `rendered`.
double photometric_loss(int width, int height, const float* rendered, const float* target, const uint8_t* mask,
                        float ssim_weight, float* gradient, int threads);

}  // namespace cgc
