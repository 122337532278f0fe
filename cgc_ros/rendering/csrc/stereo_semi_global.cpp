// Volumes of scores: smoothing along four directions, and the winner of each pixel (selection.py).
#include "stereo_sampling.h"

namespace cgc::CGC_ISA {

constexpr float kNever = 1e9f;  // cost of planes that only pad

// Eight maps, one a plane, into the volume.
void to_volume(const Grid& grid, const float* scores, int plane, const Volume& volume) {
  for (int y = 0; y < grid.height; ++y)
    for (int x = 0; x < grid.width; x += kLanes) {
      vfloat block[kLanes];
      for (int k = 0; k < kLanes; ++k)
        block[k] =
            plane + k < volume.planes ? load(scores + k * grid.floats() + size_t(y) * grid.stride + x) : splat(-kNever);
      transpose(block);
      float* out = volume.data + (size_t(y) * volume.width + x) * volume.depth + plane;
      for (int k = 0; k < kLanes && x + k < grid.width; ++k) store(out + size_t(k) * volume.depth, block[k]);
    }
}

// Horizontal reductions.
static inline float least(vfloat v) {
  float a[kLanes];
  store(a, v);
  float r = a[0];
  for (int i = 1; i < kLanes; ++i) r = a[i] < r ? a[i] : r;
  return r;
}

static inline vfloat least_in_all(vfloat v) {
  v = min(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = min(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  return min(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
}

// One step of a path's costs over all planes (Hirschmueller, PAMI 2008, eq. 13). `path` has kLanes floats of kNever on
// both sides; returns the least of the new costs.
static inline vfloat advance(const float* before, vfloat least_before, vfloat jump, const float* scores, int depth,
                             vfloat small_step, float* path, float* total, bool first_of_total) {
  vfloat smallest = splat(kNever);
  const vfloat far = least_before + jump;
  for (int d = 0; d < depth; d += kLanes) {
    const vfloat beside = min(load(before + d - 1), load(before + d + 1)) + small_step;
    const vfloat cost = splat(1.0f) - load(scores + d);
    const vfloat now = min(min(load(before + d), beside), far) - least_before + cost;
    store(path + d, now);
    smallest = min(smallest, now);
    store(total + d, first_of_total ? now : load(total + d) + now);
  }
  return least_in_all(smallest);
}

static inline vfloat begin(const float* scores, int depth, float* path, float* total, bool first_of_total) {
  vfloat smallest = splat(kNever);
  for (int d = 0; d < depth; d += kLanes) {
    const vfloat cost = splat(1.0f) - load(scores + d);
    store(path + d, cost);
    smallest = min(smallest, cost);
    store(total + d, first_of_total ? cost : load(total + d) + cost);
  }
  return least_in_all(smallest);
}

struct PathCosts {
  Smoothing smoothing;
  int depth, room;
  vfloat small_step;
  vfloat jump(float a, float b) const {
    const float change = __builtin_fabsf(a - b);
    return splat(smoothing.small_step +
                 (smoothing.large_step - smoothing.small_step) / (1.0f + change / smoothing.edge));
  }
};

static void along_row(const PathCosts& costs, const float* scores, const float* guide, int width, bool forwards,
                      float* two_paths, float* total) {
  vfloat smallest = splat(0.0f);
  for (int i = 0; i < width; ++i) {
    const int x = forwards ? i : width - 1 - i, before = forwards ? x - 1 : x + 1;
    float* path = two_paths + (i & 1) * costs.room + kLanes;
    const float* last = two_paths + (~i & 1) * costs.room + kLanes;
    const float* s = scores + size_t(x) * costs.depth;
    float* t = total + size_t(x) * costs.depth;
    smallest = i ? advance(last, smallest, costs.jump(guide[x], guide[before]), s, costs.depth, costs.small_step, path,
                           t, forwards)
                 : begin(s, costs.depth, path, t, forwards);
  }
}

static void down_rows(const PathCosts& costs, const float* scores, const float* guide, const float* guide_before,
                      int width, float* paths, float* leasts, float* spare, float* total) {
  for (int x = 0; x < width; ++x) {
    float* path = paths + size_t(x) * costs.room + kLanes;
    const float* s = scores + size_t(x) * costs.depth;
    float* t = total + size_t(x) * costs.depth;
    vfloat smallest;
    if (guide_before) {
      smallest = advance(path, splat(leasts[x]), costs.jump(guide[x], guide_before[x]), s, costs.depth,
                         costs.small_step, spare + kLanes, t, false);
      std::memcpy(path, spare + kLanes, sizeof(float) * costs.depth);
    } else {
      smallest = begin(s, costs.depth, path, t, false);
    }
    leasts[x] = smallest[0];
  }
}

// Winner among the scores of a pixel, `scale` times what stands there: selection.py, best_plane.
static void winner(const float* values, float scale, int planes, int depth, const Winners& out, size_t at) {
  vfloat best = splat(-3e38f);
  for (int d = 0; d < depth; d += kLanes) best = max(best, load(values + d) * splat(scale));
  const float score = -least(-best);
  int index = 0;
  while (values[index] * scale != score) ++index;
  const vfloat place = splat(float(index));
  vfloat rival = splat(-3e38f);
  for (int d = 0; d < depth; d += kLanes) {
    const vfloat away = absolute(splat(float(d)) + lane_numbers() - place);
    rival = max(rival, select(away > splat(2.0f), load(values + d) * splat(scale), splat(-3e38f)));
  }
  float position = float(index);
  if (index > 0 && index < planes - 1) {
    const float below = values[index - 1] * scale, above = values[index + 1] * scale;
    const float curvature = below - 2.0f * score + above;
    float peak = above > below ? 1.0f : above < below ? -1.0f : 0.0f;
    if (curvature < -1e-6f) peak = 0.5f * (below - above) / curvature;
    position += peak < -0.5f ? -0.5f : peak > 0.5f ? 0.5f : peak;
  }
  out.index[at] = index, out.position[at] = position, out.lead[at] = score + least(-rival), out.score[at] = score;
}

void winners(const Volume& v, const Winners& out) {
  for (int y = 0; y < v.height; ++y)
    for (int x = 0; x < v.width; ++x)
      winner(v.data + (size_t(y) * v.width + x) * v.depth, 1.0f, v.planes, v.depth, out,
             size_t(y) * out.grid.stride + x);
}

void semi_global(const Grid& grid, const Volume& v, const Smoothing& smoothing, const Winners& out,
                 GrowingBuffer& scratch) {
  const int room = v.depth + 2 * kLanes;
  const PathCosts costs{smoothing, v.depth, room, splat(smoothing.small_step)};
  const size_t row = size_t(v.width) * v.depth, paths_floats = size_t(v.width) * room;
  float* two_paths = reserve(scratch, 3 * room + paths_floats + v.width + row * v.height);
  float* spare = two_paths + 2 * room;
  float* paths = spare + room;
  float* leasts = paths + paths_floats;
  float* total = leasts + v.width;
  for (float* p = two_paths; p < leasts; ++p) *p = kNever;
  for (int y = 0; y < v.height; ++y) {
    const float* guide = smoothing.guide + size_t(y) * grid.stride;
    const float* scores = v.data + y * row;
    along_row(costs, scores, guide, v.width, true, two_paths, total + y * row);
    along_row(costs, scores, guide, v.width, false, two_paths, total + y * row);
    down_rows(costs, scores, guide, y ? guide - grid.stride : nullptr, v.width, paths, leasts, spare, total + y * row);
  }
  for (int y = v.height - 1; y >= 0; --y) {
    const float* guide = smoothing.guide + size_t(y) * grid.stride;
    down_rows(costs, v.data + y * row, guide, y < v.height - 1 ? guide + grid.stride : nullptr, v.width, paths, leasts,
              spare, total + y * row);
    for (int x = 0; x < v.width; ++x)
      winner(total + y * row + size_t(x) * v.depth, -0.25f, v.planes, v.depth, out, size_t(y) * out.grid.stride + x);
  }
}

}  // namespace cgc::CGC_ISA
