// What kernels take and leave: plain arrays and plain structs, no ownership.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cgc {

constexpr int kTile = 16;          // a tile is 16 x 16 pixels ...
constexpr int kBlockWidth = 4;     // ... of 32 blocks of 4 x 2 pixels, the eight lanes of a vector
constexpr int kBlockHeight = 2;
constexpr int kBlocks = 32;
constexpr int kTilePixels = kTile * kTile;
constexpr int kSegment = 256;      // Gaussians of a tile worked on at once: their records stay in the first caches
constexpr int kChunk = 1024;       // Gaussians of one unit of parallel work per Gaussian

// gsplat 1.5.3's constants.
constexpr float kNear = 0.01f, kFar = 1e10f;
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kAlphaMax = 0.999f;
constexpr float kTransmittanceMin = 1e-4f;
constexpr float kExtentMax = 3.33f;              // standard deviations
constexpr float kLog2AlphaMin = -7.99435344f;    // log2(1 / 255)
constexpr float kWhiten = 0.84932180f;           // sqrt(log2(e) / 2): exp(-|w|^2 / 2) = 2^-|kWhiten w|^2

struct View {
  int width, height;
  double fx, fy, cx, cy;
  float rotation[9], translation[3];  // camera from world, row-major
  float blur;                         // pixels^2, added to the projected covariance
  int tiles_x() const { return (width + kTile - 1) / kTile; }
  int tiles_y() const { return (height + kTile - 1) / kTile; }
};

struct Gaussians {
  int64_t count;
  const float* means;      // [N, 3]
  const float* quats;      // [N, 4] w x y z
  const float* scales;     // [N, 3]
  const float* opacities;  // [N]
};

// A projected Gaussian, one cache line. With d = pixel - mean, its alpha is 2^(log2_opacity - u^2 - v^2), u = a dx + b
// dy, v = c dy: the Cholesky factor of the conic, scaled by kWhiten. Unlike the quadratic form it never turns negative
// by rounding. The mean is split into whole pixels and a fraction, so that coordinates within a tile keep all of
// float's digits.
struct alignas(64) Splat {
  int32_t x_whole, y_whole;
  float x_fraction, y_fraction;
  float a, b, c, log2_opacity;
  float level;      // u^2 + v^2 where alpha falls to 1/255, and a little more
  float tip;        // the ellipse's rightmost point lies at dy = -tip, its leftmost at +tip
  float inverse_a;
  float slack;      // pixels by which coverage may err
  float color[3];   // what spherical harmonics or plain colours give
  float depth;
};

// What is blended, in this order: [features F][color 3][depth 1], each part optional. Colour and depth stand in the
// splats.
struct Channels {
  const float* features;  // [N, F] or null
  int num_features;
  bool color, depth;
  int color_at() const { return num_features; }
  int depth_at() const { return num_features + (color ? 3 : 0); }
  int count() const { return depth_at() + (depth ? 1 : 0); }
  int stride() const { return (count() + 7) / 8 * 8; }
};

// Gaussians of a tile, front to back: entries first[tile] .. first[tile + 1] of the arrays.
struct TileLists {
  const int32_t* first;     // [tiles + 1]
  const int32_t* gaussian;  // [pairs]
  const int32_t* slot;      // [pairs] where the pair stands in the order of Gaussian indices
  uint32_t* blocks;         // [pairs] which of the tile's blocks the ellipse can touch: kept by the forward pass
};

// A buffer that kernels may ask to grow: `grow` is compiled for the baseline.
struct GrowingBuffer {
  void* data = nullptr;
  size_t capacity = 0;  // bytes
  GrowingBuffer() = default;
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;
  ~GrowingBuffer();
  void grow(size_t bytes);
};

}  // namespace cgc
