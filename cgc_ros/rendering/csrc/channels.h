// Channel records of a segment's Gaussians, and their weighted sums.
#pragma once

#include "scene.h"
#include "simd.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

// records[n, stride] = [color, features, depth, zeros] of the listed Gaussians.
inline void gather_channels(const Channels& channels, const int32_t* gaussians, int n, float* records) {
  const int stride = channels.stride(), count = channels.count();
  const int num_features = channels.num_features;
  for (int i = 0; i < n; ++i) {
    const int64_t g = gaussians[i];
    if (i + 8 < n) {
      const int64_t next = gaussians[i + 8];
      if (channels.colors) __builtin_prefetch(channels.colors + 3 * next);
      if (channels.features) __builtin_prefetch(channels.features + num_features * next);
      if (channels.depths) __builtin_prefetch(channels.depths + next);
    }
    float* out = records + i * stride;
    int k = 0;
    if (channels.colors)
      for (; k < 3; ++k) out[k] = channels.colors[3 * g + k];
    if (channels.features) {
      const float* in = channels.features + num_features * g;
      for (int f = 0; f < num_features; ++f) out[k++] = in[f];
    }
    if (channels.depths) out[k++] = channels.depths[g];
    for (k = count; k < stride; ++k) out[k] = 0.0f;
  }
}

// sums[k] += weight * record[k] for kGroup channels, over the queue. Few channels use two chains to hide latency.
template <int kGroup>
inline void accumulate_group(const Queue& queue, const float* records, int stride, vfloat* sums) {
  vfloat s[kGroup];
#pragma GCC unroll 16
  for (int k = 0; k < kGroup; ++k) s[k] = sums[k];
  for (int q = 0; q < queue.size; ++q) {
    const vfloat weight = load(queue.weights[q]);
    const float* record = records + queue.index[q] * stride;
#pragma GCC unroll 16
    for (int k = 0; k < kGroup; ++k) s[k] += weight * splat(record[k]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < kGroup; ++k) sums[k] = s[k];
}

constexpr int kGroupMax = 12;  // accumulators that fit into sixteen registers beside a weight and a factor

inline void accumulate(const Queue& queue, const float* records, int stride, int count, vfloat* sums) {
  const int groups = (count + kGroupMax - 1) / kGroupMax;
  for (int g = 0, done = 0; g < groups; ++g) {
    const int n = (count - done) / (groups - g);
    const float* from = records + done;
    vfloat* to = sums + done;
    switch (n) {
      case 1: accumulate_group<1>(queue, from, stride, to); break;
      case 2: accumulate_group<2>(queue, from, stride, to); break;
      case 3: accumulate_group<3>(queue, from, stride, to); break;
      case 4: accumulate_group<4>(queue, from, stride, to); break;
      case 5: accumulate_group<5>(queue, from, stride, to); break;
      case 6: accumulate_group<6>(queue, from, stride, to); break;
      case 7: accumulate_group<7>(queue, from, stride, to); break;
      case 8: accumulate_group<8>(queue, from, stride, to); break;
      case 9: accumulate_group<9>(queue, from, stride, to); break;
      case 10: accumulate_group<10>(queue, from, stride, to); break;
      case 11: accumulate_group<11>(queue, from, stride, to); break;
      case 12: accumulate_group<12>(queue, from, stride, to); break;
    }
    done += n;
  }
}

}  // namespace
}  // namespace cgc::CGC_ISA
