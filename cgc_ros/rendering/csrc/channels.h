// Channel records of a segment's Gaussians, and their weighted sums.
#pragma once

#include "scene.h"
#include "simd.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

// Floats of `count` records; the last one may be written beyond its end.
inline size_t record_floats(const Channels& channels, int count) { return size_t(count) * channels.stride() + 4; }

// One record: [features, color, depth], then rubbish up to the stride.
inline void gather_channels(const Channels& channels, int32_t gaussian, const Splat& splat, float* record) {
  const int f = channels.num_features;
  if (f == 16) {
    const float* in = channels.features + int64_t(16) * gaussian;
    store(record, load(in)), store(record + kLanes, load(in + kLanes));
  } else if (f) {
    std::memcpy(record, channels.features + int64_t(f) * gaussian, f * sizeof(float));
  }
  if (channels.color) store4(record + f, load4(splat.color));  // depth follows
  if (channels.depth) record[channels.depth_at()] = splat.depth;
}

inline void prefetch_channels(const Channels& channels, int32_t gaussian) {
  const int floats_a_line = 16;
  const float* in = channels.features + int64_t(channels.num_features) * gaussian;
  for (int k = 0; k < channels.num_features; k += floats_a_line) __builtin_prefetch(in + k);
  if (channels.num_features) __builtin_prefetch(in + channels.num_features - 1);
}

// sums[k] += weight * record[k] for kGroup channels, over the queue. Few channels keep two sums each to hide latency.
template <int kGroup>
inline void accumulate_group(const Queue& queue, const float* records, int stride, vfloat* sums) {
  constexpr int kChains = kGroup <= 5 ? 2 : 1;
  vfloat s[kChains][kGroup];
#pragma GCC unroll 16
  for (int k = 0; k < kGroup; ++k) {
    s[0][k] = sums[k];
    if (kChains > 1) s[kChains - 1][k] = splat(0.0f);
  }
  int q = 0;
  for (; q + kChains <= queue.size; q += kChains) {
#pragma GCC unroll 2
    for (int c = 0; c < kChains; ++c) {
      const vfloat weight = load(queue.weights[q + c]);
      const float* record = records + queue.index[q + c] * stride;
#pragma GCC unroll 16
      for (int k = 0; k < kGroup; ++k) s[c][k] += weight * splat(record[k]);
    }
  }
  for (; q < queue.size; ++q) {
    const vfloat weight = load(queue.weights[q]);
    const float* record = records + queue.index[q] * stride;
#pragma GCC unroll 16
    for (int k = 0; k < kGroup; ++k) s[0][k] += weight * splat(record[k]);
  }
#pragma GCC unroll 16
  for (int k = 0; k < kGroup; ++k) sums[k] = kChains > 1 ? s[0][k] + s[kChains - 1][k] : s[0][k];
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
