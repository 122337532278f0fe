// A tile's Gaussians, kSegment at a time, copied next to each other and sorted out by block.
#pragma once

#include "coverage.h"
#include "scene.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

struct LocalSplat {
  float x, y, a, b, c, log2_opacity;  // x, y from the tile's corner
  float padding[2];
};

// The pixels of a tile, in the order of blocks and lanes.
struct TilePixels {
  int x0, y0, width, height;  // corner; pixels of the tile inside the image
  TilePixels(const View& view, int tile) {
    x0 = tile % view.tiles_x() * kTile, y0 = tile / view.tiles_x() * kTile;
    width = view.width - x0 < kTile ? view.width - x0 : kTile;
    height = view.height - y0 < kTile ? view.height - y0 : kTile;
  }
  static int block_x(int block) { return block % (kTile / kBlockWidth) * kBlockWidth; }
  static int block_y(int block) { return block / (kTile / kBlockWidth) * kBlockHeight; }
  static vfloat centre_x(int block) {
    const vfloat lane = {0.5f, 1.5f, 2.5f, 3.5f, 0.5f, 1.5f, 2.5f, 3.5f};
    return lane + splat(float(block_x(block)));
  }
  static vfloat centre_y(int block) {
    const vfloat lane = {0.5f, 0.5f, 0.5f, 0.5f, 1.5f, 1.5f, 1.5f, 1.5f};
    return lane + splat(float(block_y(block)));
  }
  vint inside(int block) const {
    return (centre_x(block) < splat(float(width))) & (centre_y(block) < splat(float(height)));
  }
  bool is_inside(int block, int lane) const {
    return block_x(block) + lane % kBlockWidth < width && block_y(block) + lane / kBlockWidth < height;
  }
  // Index of a lane's pixel in the image of `view`.
  int64_t pixel(const View& view, int block, int lane) const {
    return int64_t(y0 + block_y(block) + lane / kBlockWidth) * view.width + x0 + block_x(block) + lane % kBlockWidth;
  }
};

struct Segment {
  alignas(32) LocalSplat splats[kSegment];
  int count;
  int list_size[kBlocks];
  uint8_t lists[kBlocks][kSegment];  // per block: positions in `splats`, front to back

  // Entries [begin, begin + count) of the tile's list, in the blocks of `live` alone.
  void load(const Splat* all, const TileLists& tiles, const TilePixels& pixels, int64_t begin, int n, uint32_t live) {
    count = n;
    std::memset(list_size, 0, sizeof list_size);
    for (int i = 0; i < n; ++i) {
      if (i + 8 < n) __builtin_prefetch(all + tiles.gaussian[begin + i + 8]);
      const Splat& s = all[tiles.gaussian[begin + i]];
      splats[i] = {float(s.x_whole - pixels.x0) + s.x_fraction, float(s.y_whole - pixels.y0) + s.y_fraction,
                   s.a, s.b, s.c, s.log2_opacity, {0.0f, 0.0f}};
      for (uint32_t rest = tiles.blocks[begin + i] & live; rest; rest &= rest - 1) {
        const int block = __builtin_ctz(rest);
        lists[block][list_size[block]++] = uint8_t(i);
      }
    }
  }
};

// Alpha of a splat at a block's pixels before the clamp; `reached` where it is at least 1/255.
inline vfloat alpha_at(const LocalSplat& s, vfloat px, vfloat py, vint& reached, vfloat& u, vfloat& v) {
  vfloat dx = px - splat(s.x), dy = py - splat(s.y);
  u = splat(s.a) * dx + splat(s.b) * dy;
  v = splat(s.c) * dy;
  vfloat exponent = splat(s.log2_opacity) - u * u - v * v;
  reached = exponent >= splat(kLog2AlphaMin);
  return exp2(exponent);
}

// The pixels of a block while they are blended front to back.
struct BlockState {
  vfloat transmittance;
  vint live;
  vint stop;  // position in the tile's list at which the pixel had become opaque

  void start(vint inside) {
    transmittance = splat(1.0f);
    live = inside;
    stop = splat(INT32_MAX);
  }
};

constexpr int kQueue = 32;

// What a run over a block's list leaves for the channels: who reached the block, with what weights.
struct Queue {
  alignas(32) float weights[kQueue][kLanes];
  int32_t index[kQueue];  // position in the segment
  int size;
};

// Blends up to kQueue entries of a block's list from `from` on; returns where the next run starts (size where all pixels
// are done). `position` is the segment's place in the tile's list.
inline int blend_run(const Segment& segment, int block, int from, int position, BlockState& state, Queue& queue) {
  const vfloat px = TilePixels::centre_x(block), py = TilePixels::centre_y(block);
  const uint8_t* list = segment.lists[block];
  const int size = segment.list_size[block];
  const int end = from + kQueue < size ? from + kQueue : size;
  vfloat transmittance = state.transmittance;
  vint live = state.live;
  int live_bits = lane_bits(live);
  int n = 0;
  for (int k = from; k < end; ++k) {
    const int i = list[k];
    vint reached;
    vfloat u, v;
    vfloat alpha = min(alpha_at(segment.splats[i], px, py, reached, u, v), splat(kAlphaMax));
    alpha = only_where(reached & live, alpha);
    vfloat next = transmittance - transmittance * alpha;
    vint ok = next > splat(kTransmittanceMin);
    vfloat weight = only_where(ok, transmittance * alpha);
    transmittance = select(ok, next, transmittance);
    store(queue.weights[n], weight);
    queue.index[n] = i;
    n += lane_bits(bits(weight) > splat(0)) != 0;
    vint still = live & ok;
    const int still_bits = lane_bits(still);
    if (__builtin_expect(still_bits != live_bits, 0)) {
      state.stop = select(live & ~ok, splat(position + i), state.stop);
      live = still, live_bits = still_bits;
      if (!live_bits) {
        state.transmittance = transmittance, state.live = live, queue.size = n;
        return size;
      }
    }
  }
  state.transmittance = transmittance, state.live = live, queue.size = n;
  return end;
}

}  // namespace
}  // namespace cgc::CGC_ISA
