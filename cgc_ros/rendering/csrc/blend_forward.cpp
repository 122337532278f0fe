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
  // then floats: [kBlocks, stride, 8] sums, [kSegment, stride] channel records
};

// Four pixels side by side in a row of the image, cut at its edge.
template <int kChannels>
void write_row(float* out, const float* values, int columns) {
  if (columns == kBlockWidth) {
    std::memcpy(out, values, sizeof(float) * kChannels * kBlockWidth);
  } else {
    for (int k = 0; k < kChannels * columns; ++k) out[k] = values[k];
  }
}

// The finished block to the output images.
void write_block(const ForwardTiles& job, const TilePixels& pixels, int block, const BlockState& state,
                 const vfloat* sums) {
  const Channels& channels = job.channels;
  const int num_features = channels.num_features;
  const int left = pixels.width - TilePixels::block_x(block);
  const int columns = left < kBlockWidth ? left : kBlockWidth;
  const int below = pixels.height - TilePixels::block_y(block);
  const int rows = below < kBlockHeight ? below : kBlockHeight;
  const int64_t first = pixels.pixel(job.view, block, 0);
  const vfloat transmittance = state.transmittance, alpha = splat(1.0f) - transmittance;

  for (int base = 0; base < num_features; base += kLanes) {
    vfloat by_pixel[kLanes];
    for (int k = 0; k < kLanes; ++k) by_pixel[k] = sums[base + k];
    transpose(by_pixel);
    const int n = num_features - base < kLanes ? num_features - base : kLanes;
    for (int y = 0; y < rows; ++y) {
      float* out = job.features + (first + int64_t(y) * job.view.width) * num_features + base;
      for (int x = 0; x < columns; ++x, out += num_features) {
        const vfloat& value = by_pixel[y * kBlockWidth + x];
        if (n == kLanes) {
          store(out, value);
        } else {
          for (int k = 0; k < n; ++k) out[k] = value[k];
        }
      }
    }
  }
  float values[5][kLanes];  // red, green, blue, depth, alpha
  if (channels.color)
    for (int k = 0; k < 3; ++k) {
      vfloat color = sums[channels.color_at() + k];
      if (job.background) color += transmittance * splat(job.background[k]);
      store(values[k], color);
    }
  if (channels.depth) store(values[3], sums[channels.depth_at()] / max(alpha, splat(1e-10f)));
  store(values[4], alpha);
  for (int y = 0; y < rows; ++y) {
    const int64_t pixel = first + int64_t(y) * job.view.width;
    const int lane = y * kBlockWidth;
    if (channels.color) {
      float interleaved[3 * kBlockWidth];
      for (int x = 0; x < kBlockWidth; ++x)
        for (int k = 0; k < 3; ++k) interleaved[3 * x + k] = values[k][lane + x];
      write_row<3>(job.color + 3 * pixel, interleaved, columns);
    }
    if (channels.depth) write_row<1>(job.depth + pixel, values[3] + lane, columns);
    write_row<1>(job.alpha + pixel, values[4] + lane, columns);
  }
}

}  // namespace

size_t forward_scratch(const Channels& channels) {
  return sizeof(ForwardScratch) +
         sizeof(float) * (size_t(kBlocks) * channels.stride() * kLanes + record_floats(channels, kSegment));
}

int64_t forward_tile(const ForwardTiles& job, int tile, void* memory) {
  auto& scratch = *static_cast<ForwardScratch*>(memory);
  const Channels& channels = job.channels;
  const int stride = channels.stride(), count = channels.count();
  auto* sums = reinterpret_cast<vfloat*>(&scratch + 1);
  float* records = reinterpret_cast<float*>(sums + kBlocks * stride);
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

  const int first = job.lists.first[tile], last = job.lists.first[tile + 1];
  for (int begin = first; begin < last; begin += kSegment) {
    const int n = last - begin < kSegment ? last - begin : kSegment;
    if (job.pair_contribution) std::memset(scratch.contribution, 0, sizeof scratch.contribution);
    if (live) {
      scratch.segment.load(
          job.splats, job.lists, job.find_blocks, pixels, begin, n, live,
          [&](int32_t gaussian) { prefetch_channels(channels, gaussian); },
          [&](int i, int32_t gaussian, const Splat& splat) {
            gather_channels(channels, gaussian, splat, records + i * stride);
          });
    }
    for (uint32_t rest = live; rest; rest &= rest - 1) {
      const int block = __builtin_ctz(rest);
      BlockState& state = scratch.blocks[block];
      const int size = scratch.segment.list_size[block];
      for (int from = 0; from < size;) {
        from = blend_run(scratch.segment, block, from, begin - first, state, scratch.queue);
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
