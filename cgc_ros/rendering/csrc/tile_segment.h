// A tile's Gaussians, kSegment at a time, copied next to each other and sorted out by block.
#pragma once

#include "coverage.h"
#include "scene.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int kAhead = 32;  // Gaussians whose memory is asked for in advance

struct LocalSplat {
  float x, y;  // from the tile's corner
  float unused[2];
  float a, b, c, log2_opacity;
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

// Positions of the set bits of a byte, lowest first, one a byte.
struct BitPositions {
  uint64_t of[256];
  constexpr BitPositions() : of() {
    for (int byte = 0; byte < 256; ++byte) {
      int n = 0;
      for (int bit = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte] |= uint64_t(bit) << (8 * n++);
    }
  }
};
constexpr BitPositions kBitPositions;

struct Segment {
  alignas(32) LocalSplat splats[kSegment];
  alignas(32) uint32_t blocks[kSegment];
  int list_size[kBlocks];
  uint8_t lists[kBlocks][kSegment + kLanes];  // per block: positions in `splats`, front to back

  // Entries [begin, begin + n) of the lists, in the blocks of `live` alone. `take(i, gaussian, splat)` may copy more,
  // having asked for it in advance in `expect(gaussian)`.
  template <class Expect, class Take>
  void load(const Splat* all, const TileLists& tiles, bool find_blocks, const TilePixels& pixels, int begin, int n,
            uint32_t live, Expect expect, Take take) {
    auto expect_entry = [&](int i) {
      const int32_t gaussian = tiles.gaussian[begin + i];
      __builtin_prefetch(all + gaussian);
      expect(gaussian);
    };
    for (int i = 0; i < n && i < kAhead; ++i) expect_entry(i);
    for (int i = 0; i < n; ++i) {
      if (i + kAhead < n) expect_entry(i + kAhead);
      const int32_t gaussian = tiles.gaussian[begin + i];
      const Splat& s = all[gaussian];
      const float x = float(s.x_whole - pixels.x0) + s.x_fraction, y = float(s.y_whole - pixels.y0) + s.y_fraction;
      std::memcpy(&splats[i], &s, sizeof(LocalSplat));  // a, b, c and log2_opacity stand where they stand in the splat
      splats[i].x = x, splats[i].y = y;
      take(i, gaussian, s);
      if (find_blocks) tiles.blocks[begin + i] = blocks_touched(s, x, y);
    }
    std::memcpy(blocks, tiles.blocks + begin, n * sizeof(uint32_t));
    for (int i = n; i % kLanes; ++i) blocks[i] = 0;
    for (int block = 0; block < kBlocks; ++block) list_size[block] = live >> block & 1 ? list_block(block, n) : 0;
  }

 private:
  // Eight Gaussians at a time: their bits of this block become list entries by a table, without a branch.
  int list_block(int block, int n) {
    const vint to_sign = splat(31 - block);
    uint8_t* list = lists[block];
    int size = 0;
    for (int i = 0; i < n; i += kLanes) {
      const int byte = lane_bits(cgc::CGC_ISA::load(reinterpret_cast<const int32_t*>(blocks + i)) << to_sign);
      const uint64_t positions = kBitPositions.of[byte] + uint64_t(i) * 0x0101010101010101u;
      std::memcpy(list + size, &positions, sizeof positions);
      size += __builtin_popcount(byte);
    }
    return size;
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

// What a run over a block's list leaves for the channels.
struct Queue {
  alignas(32) float weights[kQueue][kLanes];
  const uint8_t* index;  // positions in the segment
  int size;
};

// Blends up to kQueue entries of a block's list from `from` on; returns where the next run starts (the list's size
// where all pixels are done). `position` is the segment's place in the tile's list.
inline int blend_run(const Segment& segment, int block, int from, int position, BlockState& state, Queue& queue) {
  const vfloat px = TilePixels::centre_x(block), py = TilePixels::centre_y(block);
  const uint8_t* list = segment.lists[block];
  const int size = segment.list_size[block];
  const int end = from + kQueue < size ? from + kQueue : size;
  vfloat transmittance = state.transmittance;
  vint live = state.live;
  queue.index = list + from;
  // One step: the weight of entry k and the transmittance behind it.
  auto alpha_of = [&](int k) {
    vint reached;
    vfloat u, v;
    vfloat alpha = min(alpha_at(segment.splats[list[k]], px, py, reached, u, v), splat(kAlphaMax));
    return only_where(reached & live, alpha);
  };
  const vfloat one = splat(1.0f), least = splat(kTransmittanceMin);
  int k = from;
  while (k < end) {
    // Four at once, as long as no pixel gets opaque. A lane that is off never does: its transmittance stays as it was.
    for (; k + 4 <= end; k += 4) {
      vfloat alpha0 = alpha_of(k), alpha1 = alpha_of(k + 1), alpha2 = alpha_of(k + 2), alpha3 = alpha_of(k + 3);
      vfloat behind0 = transmittance * (one - alpha0), behind1 = behind0 * (one - alpha1);
      vfloat behind2 = behind1 * (one - alpha2), behind3 = behind2 * (one - alpha3);
      if (__builtin_expect(lane_bits(behind3 <= least) != 0, 0)) break;
      float* weights = queue.weights[k - from];
      store(weights, transmittance * alpha0), store(weights + kLanes, behind0 * alpha1);
      store(weights + 2 * kLanes, behind1 * alpha2), store(weights + 3 * kLanes, behind2 * alpha3);
      transmittance = behind3;
    }
    for (const int stop = k + 4 < end ? k + 4 : end; k < stop; ++k) {
      vfloat alpha = alpha_of(k), behind = transmittance * (one - alpha);
      vint exhausted = behind <= least;
      state.stop = select(exhausted, splat(position + list[k]), state.stop);
      live &= ~exhausted;
      store(queue.weights[k - from], transmittance * only_where(~exhausted, alpha));
      transmittance = select(exhausted, transmittance, behind);
      if (!lane_bits(live)) {
        state.transmittance = transmittance, state.live = live, queue.size = k + 1 - from;
        return size;
      }
    }
  }
  state.transmittance = transmittance, state.live = live, queue.size = end - from;
  return end;
}

}  // namespace
}  // namespace cgc::CGC_ISA
