// Images at another size: shrunk with a low-pass filter, and depth enlarged without blurring its edges.
#include "stereo_sampling.h"

namespace cgc::CGC_ISA {
namespace {

// Rows of a filtered image, one plane: out [across.size] from a row of the input.
void filter_across(const Taps& taps, const float* row, float* out) {
  int x = 0;
  for (; x + kLanes <= taps.size; x += kLanes) {
    const vint first = load(taps.first + x);
    vfloat total = splat(0.0f);
    for (int k = 0; k < taps.reach; ++k)
      total += load(taps.weights + size_t(k) * taps.size + x) * gather(row + k, first);
    store(out + x, total);
  }
  for (; x < taps.size; ++x) {
    float total = 0.0f;
    for (int k = 0; k < taps.reach; ++k) total += taps.weights[size_t(k) * taps.size + x] * row[taps.first[x] + k];
    out[x] = total;
  }
}

template <class Value>
void filter_down(const Taps& taps, int y, const Value* image, int width, float* row) {
  for (int x = 0; x < width; ++x) row[x] = 0.0f;
  for (int k = 0; k < taps.reach; ++k) {
    const float weight = taps.weights[size_t(k) * taps.size + y];
    if (weight == 0.0f) continue;
    const Value* from = image + size_t(taps.first[y] + k) * width;
    for (int x = 0; x < width; ++x) row[x] += weight * float(from[x]);
  }
}

}  // namespace

void shrink(const ShrinkJob& job, GrowingBuffer& scratch) {
  const int planes = job.bytes && job.color ? 3 : 1, values = job.width * (job.bytes ? 3 : 1);
  const int room = job.width + job.across.reach;
  float* row = reserve(scratch, values + 3 * size_t(room));
  float* split = row + values;
  const size_t plane = size_t(job.across.size) * job.down.size;
  for (int k = 0; k < 3 * room; ++k) split[k] = 0.0f;
  for (int y = 0; y < job.down.size; ++y) {
    if (!job.bytes) {
      filter_down(job.down, y, job.grey, job.width, split);
    } else {
      filter_down(job.down, y, job.bytes, values, row);
      const float share = 1.0f / 255.0f;
      if (job.color)
        for (int x = 0; x < job.width; ++x)
          for (int c = 0; c < 3; ++c) split[c * room + x] = share * row[3 * x + c];
      else
        for (int x = 0; x < job.width; ++x)
          split[x] = share * (0.299f * row[3 * x] + 0.587f * row[3 * x + 1] + 0.114f * row[3 * x + 2]);
    }
    for (int p = 0; p < planes; ++p)
      filter_across(job.across, split + size_t(p) * room, job.out + p * plane + size_t(y) * job.across.size);
  }
}

// matcher.py: full_size.
void enlarge(const EnlargeJob& job, GrowingBuffer& scratch) {
  const Grid& g = job.grid;
  const Lookup& at = job.lookup;
  float* total = reserve(scratch, 2 * size_t(g.width + 1) + kLanes);
  float* weight = total + g.width + 1;
  for (int y = 0; y < at.height; ++y) {
    const int below = at.upper[y] + 1 < g.height ? at.upper[y] + 1 : g.height - 1;
    const size_t upper = size_t(at.upper[y]) * g.stride, lower = size_t(below) * g.stride;
    const float down = at.lower_share[y];
    for (int x = 0; x < g.width; ++x) {
      const float u = job.confidence[upper + x] > 0.0f ? 1.0f - down : 0.0f;
      const float l = job.confidence[lower + x] > 0.0f ? down : 0.0f;
      weight[x] = u + l, total[x] = u * job.w[upper + x] + l * job.w[lower + x];
    }
    total[g.width] = total[g.width - 1], weight[g.width] = weight[g.width - 1];
    const float* w = job.w + size_t(at.row[y]) * g.stride;
    const float* confidence = job.confidence + size_t(at.row[y]) * g.stride;
    float* depth = job.depth + size_t(y) * at.width;
    float* sure = job.sure + size_t(y) * at.width;
    for (int x = 0; x < at.width; ++x) {
      const int left = at.left[x], nearest = at.column[x];
      const float right = at.right_share[x];
      const float share = weight[left] + right * (weight[left + 1] - weight[left]);
      const float smooth = (total[left] + right * (total[left + 1] - total[left])) / (share > 1e-6f ? share : 1e-6f);
      const float there = w[nearest], chosen = __builtin_fabsf(smooth - there) < job.surface ? smooth : there;
      const float known = confidence[nearest];
      depth[x] = known > 0.0f ? 1.0f / (chosen > 1e-12f ? chosen : 1e-12f) : 0.0f;
      sure[x] = known;
    }
  }
}

}  // namespace cgc::CGC_ISA
