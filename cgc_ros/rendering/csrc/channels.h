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
#pragma GCC unroll 20
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
#pragma GCC unroll 20
      for (int k = 0; k < kGroup; ++k) s[c][k] += weight * splat(record[k]);
    }
  }
  for (; q < queue.size; ++q) {
    const vfloat weight = load(queue.weights[q]);
    const float* record = records + queue.index[q] * stride;
#pragma GCC unroll 20
    for (int k = 0; k < kGroup; ++k) s[0][k] += weight * splat(record[k]);
  }
#pragma GCC unroll 20
  for (int k = 0; k < kGroup; ++k) sums[k] = kChains > 1 ? s[0][k] + s[kChains - 1][k] : s[0][k];
}

// Accumulators that fit into the registers beside a weight and a factor.
#if defined(__AVX512VL__)
constexpr int kGroupMax = 20;
#else
constexpr int kGroupMax = 12;
#endif

template <int kGroup>
inline void accumulate_some(int count, const Queue& queue, const float* records, int stride, vfloat* sums) {
  if constexpr (kGroup > 0) {
    if (count == kGroup) return accumulate_group<kGroup>(queue, records, stride, sums);
    accumulate_some<kGroup - 1>(count, queue, records, stride, sums);
  }
}

inline void accumulate(const Queue& queue, const float* records, int stride, int count, vfloat* sums) {
  const int groups = (count + kGroupMax - 1) / kGroupMax;
  for (int g = 0, done = 0; g < groups; ++g) {
    const int n = (count - done) / (groups - g);
    accumulate_some<kGroupMax>(n, queue, records + done, stride, sums + done);
    done += n;
  }
}

}  // namespace
}  // namespace cgc::CGC_ISA
