// Front-to-back blending of a tile: per block of eight pixels, weights are queued and then multiplied with the channels
// of their Gaussians, a group of channels in registers at a time.
#include "channels.h"
#include "kernels.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

struct ForwardScratch {
  Segment segment;
  Queue queue;
  BlockState blocks[kBlocks];
  alignas(32) float contribution[kSegment][kLanes];
  // then [kSegment, stride] channel records and [kBlocks, stride] accumulators
};

// The finished block to the output images.
void write_block(const ForwardTiles& job, const TilePixels& pixels, int block, const BlockState& state,
                 const vfloat* sums) {
  const int num_colors = job.channels.color_count(), num_features = job.channels.num_features;
  const int count = job.channels.count(), stride = job.channels.stride();
  vfloat alpha = splat(1.0f) - state.transmittance;
  vfloat transmittance = state.transmittance;
  vfloat depth = splat(0.0f);
  if (job.depth) depth = sums[count - 1] / max(alpha, splat(1e-10f));
  for (int base = 0; base < stride; base += kLanes) {
    vfloat rows[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      const int channel = base + k;
      rows[k] = channel < count ? sums[channel] : splat(0.0f);
      if (job.background && channel < num_colors) rows[k] += transmittance * splat(job.background[channel]);
    }
    transpose(rows);
    for (int l = 0; l < kLanes; ++l) {
      if (!pixels.is_inside(block, l)) continue;
      const int64_t pixel = pixels.pixel(job.view, block, l);
      const int color_end = num_colors - base, feature_end = num_colors + num_features - base;
      float values[kLanes];
      store(values, rows[l]);
      int k = 0;
      for (; k < kLanes && k < color_end; ++k) job.color[3 * pixel + base + k] = values[k];
      if (k < kLanes && k < feature_end) {
        const int n = (feature_end < kLanes ? feature_end : kLanes) - k;
        std::memcpy(job.features + pixel * num_features + base + k - num_colors, values + k, n * sizeof(float));
      }
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    if (!pixels.is_inside(block, l)) continue;
    const int64_t pixel = pixels.pixel(job.view, block, l);
    if (job.alpha) job.alpha[pixel] = alpha[l];
    if (job.depth) job.depth[pixel] = depth[l];
  }
}

}  // namespace

void find_blocks(const Splat* splats, const TileLists& lists, int tiles_x, int tile) {
  const int x0 = tile % tiles_x * kTile, y0 = tile / tiles_x * kTile;
  const int64_t last = lists.first[tile + 1];
  for (int64_t p = lists.first[tile]; p < last; ++p) {
    if (p + 8 < last) __builtin_prefetch(splats + lists.gaussian[p + 8]);
    lists.blocks[p] = blocks_touched(ellipse_of(splats[lists.gaussian[p]], x0, y0));
  }
}

size_t forward_scratch(const Channels& channels) {
  return sizeof(ForwardScratch) + size_t(channels.stride()) * sizeof(float) * (kSegment + kBlocks * kLanes);
}

int64_t forward_tile(const ForwardTiles& job, int tile, void* memory) {
  auto& scratch = *static_cast<ForwardScratch*>(memory);
  const int stride = job.channels.stride(), count = job.channels.count();
  float* records = reinterpret_cast<float*>(&scratch + 1);
  auto* sums = reinterpret_cast<vfloat*>(records + kSegment * stride);
  const TilePixels pixels(job.view, tile);
  uint32_t live = 0;
  for (int block = 0; block < kBlocks; ++block) {
    vint inside = pixels.inside(block);
    scratch.blocks[block].start(inside);
    live |= uint32_t(lane_bits(inside) != 0) << block;
  }
  const uint32_t blocks_inside = live;
  std::memset(sums, 0, sizeof(vfloat) * kBlocks * stride);
  int64_t blends = 0;

  const int64_t first = job.lists.first[tile], last = job.lists.first[tile + 1];
  for (int64_t begin = first; begin < last; begin += kSegment) {
    const int n = int(last - begin < kSegment ? last - begin : kSegment);
    if (job.pair_contribution) std::memset(scratch.contribution, 0, sizeof scratch.contribution);
    if (live) {
      scratch.segment.load(job.splats, job.lists, pixels, begin, n, live);
      gather_channels(job.channels, job.lists.gaussian + begin, n, records);
    }
    for (uint32_t rest = live; rest; rest &= rest - 1) {
      const int block = __builtin_ctz(rest);
      BlockState& state = scratch.blocks[block];
      const int size = scratch.segment.list_size[block];
      for (int from = 0; from < size;) {
        from = blend_run(scratch.segment, block, from, int(begin - first), state, scratch.queue);
        const Queue& queue = scratch.queue;
        accumulate(queue, records, stride, count, sums + block * stride);
        blends += queue.size;
        if (job.pair_contribution)
          for (int k = 0; k < queue.size; ++k) {
            float* at = scratch.contribution[queue.index[k]];
            store(at, load(at) + load(queue.weights[k]));
          }
      }
      if (!lane_bits(state.live)) live &= ~(1u << block);
    }
    if (job.pair_contribution)
      for (int i = 0; i < n; ++i) job.pair_contribution[job.lists.slot[begin + i]] = sum(load(scratch.contribution[i]));
  }
  for (uint32_t rest = blocks_inside; rest; rest &= rest - 1) {
    const int block = __builtin_ctz(rest);
    write_block(job, pixels, block, scratch.blocks[block], sums + block * stride);
  }
  if (job.transmittance) {
    float* transmittance = job.transmittance + int64_t(tile) * kTilePixels;
    int32_t* stop = job.stop + int64_t(tile) * kTilePixels;
    for (int block = 0; block < kBlocks; ++block) {
      store(transmittance + block * kLanes, scratch.blocks[block].transmittance);
      store(stop + block * kLanes, scratch.blocks[block].stop);
    }
  }
  return blends;
}

}  // namespace cgc::CGC_ISA
