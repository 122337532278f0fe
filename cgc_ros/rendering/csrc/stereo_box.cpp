// ZNCC over square windows: the fast score, for whole cost volumes (matching.py: BoxWindow).
#include "stereo_sampling.h"

namespace cgc::CGC_ISA {

// Sums of v, v^2 and v r along a row of windows, into three rows of sums.
template <int Window>
static void sum_across(const float* v, const float* r, int count, int stride, float* sums) {
  for (int x = 0; x < count; x += kLanes) {
    vfloat value = load(v + x);
    vfloat total = value, square = value * value, product = value * load(r + x);
#pragma GCC unroll 8
    for (int k = 1; k < Window; ++k) {
      value = load(v + x + k);
      total += value, square += value * value, product += value * load(r + x + k);
    }
    store(sums + x, total), store(sums + stride + x, square), store(sums + 2 * stride + x, product);
  }
}

static void sum_across(int window, const float* v, const float* r, int count, int stride, float* sums) {
  switch (window) {
    case 3: return sum_across<3>(v, r, count, stride, sums);
    case 5: return sum_across<5>(v, r, count, stride, sums);
    case 7: return sum_across<7>(v, r, count, stride, sums);
  }
  for (int x = 0; x < count; x += kLanes) {
    vfloat total = splat(0.0f), square = total, product = total;
    for (int k = 0; k < window; ++k) {
      const vfloat value = load(v + x + k);
      total += value, square += value * value, product += value * load(r + x + k);
    }
    store(sums + x, total), store(sums + stride + x, square), store(sums + 2 * stride + x, product);
  }
}

// `ring` holds three rows of sums for each of the last `window` rows.
static inline vfloat sum_down(const float* ring, int window, int stride, int moment, int x) {
  vfloat s = load(ring + size_t(moment) * stride + x);
  for (int k = 1; k < window; ++k) s += load(ring + (size_t(3) * k + moment) * stride + x);
  return s;
}

// Rows [0, rim) and the last rim, and as many columns.
static void fill_rim(const Grid& grid, int rim, float value, float* map) {
  for (int y = 0; y < grid.height; ++y) {
    float* row = map + size_t(y) * grid.stride;
    const bool whole = y < rim || y >= grid.height - rim || grid.width <= 2 * rim;
    for (int x = 0; x < (whole ? grid.width : rim); ++x) row[x] = value;
    for (int x = grid.width - rim; !whole && x < grid.width; ++x) row[x] = value;
  }
}

void box_reference(const MatchImages& images, int window, float* mean, float* variance, GrowingBuffer& scratch) {
  const Grid& g = images.grid;
  const int rim = window / 2, count = g.width - window + 1;
  float* ring = reserve(scratch, size_t(3) * window * g.stride);
  const float share = 1.0f / float(window * window);
  for (int y = 0; y < g.height; ++y) {
    const float* row = images.reference + size_t(y) * g.stride;
    sum_across(window, row, row, count, g.stride, ring + size_t(3) * (y % window) * g.stride);
    if (y < window - 1) continue;
    const size_t out = size_t(y - rim) * g.stride + rim;
    for (int x = 0; x < count; x += kLanes) {
      const vfloat m = sum_down(ring, window, g.stride, 0, x) * splat(share);
      const vfloat s = sum_down(ring, window, g.stride, 1, x) * splat(share);
      store(mean + out + x, m), store(variance + out + x, max(s - m * m, splat(0.0f)));
    }
  }
  fill_rim(g, rim, 0.0f, mean), fill_rim(g, rim, 0.0f, variance);
}

void box_scores(const MatchImages& images, const BoxMoments& moments, const float* w, float plane, float* scores,
                GrowingBuffer& scratch) {
  const Grid& g = images.grid;
  const int window = moments.window, rim = window / 2, count = g.width - window + 1;
  const size_t ring_floats = size_t(3) * window * g.stride;
  float* warped = reserve(scratch, g.stride + images.count * ring_floats);
  float* rings = warped + g.stride;
  const float share = 1.0f / float(window * window);
  const vfloat noise = splat(images.noise_variance);
  for (int y = 0; y < g.height; ++y) {
    const size_t at = size_t(y) * g.stride;
    for (int s = 0; s < images.count; ++s) {
      for (int x = 0; x < g.width; x += kLanes)
        store(warped + x,
              sample(images.sources[s], land(images.sources[s], x, y, w ? load(w + at + x) : splat(plane))));
      sum_across(window, warped, images.reference + at, count, g.stride,
                 rings + s * ring_floats + size_t(3) * (y % window) * g.stride);
    }
    if (y < window - 1) continue;
    const size_t out = size_t(y - rim) * g.stride + rim;
    for (int x = 0; x < count; x += kLanes) {
      const vfloat reference_mean = load(moments.mean + out + x), deviation = load(moments.deviation + out + x);
      vfloat each[kMaxSources];
      for (int s = 0; s < images.count; ++s) {
        const float* ring = rings + s * ring_floats;
        const vfloat mean = sum_down(ring, window, g.stride, 0, x) * splat(share);
        const vfloat square = sum_down(ring, window, g.stride, 1, x) * splat(share);
        const vfloat product = sum_down(ring, window, g.stride, 2, x) * splat(share);
        const vfloat spread = square - mean * mean;
        const vfloat variance = select(spread < splat(0.0f), splat(0.0f), spread) + noise;
        each[s] = (product - mean * reference_mean) * inverse_sqrt(variance) * deviation;
      }
      store(scores + out + x, over_sources(each, images.count, images.hidden));
    }
  }
  fill_rim(g, rim, -1.0f, scores);
}

void warp(const MatchImages& images, int source, const float* w, float* warped) {
  const Grid& g = images.grid;
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      store(warped + at, sample(images.sources[source], land(images.sources[source], x, y, load(w + at))));
    }
}

}  // namespace cgc::CGC_ISA
