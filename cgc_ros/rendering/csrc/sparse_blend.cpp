// Weights at pixels times values of Gaussians, and the transpose.
#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int64_t kAhead = 8;  // entries whose rows are asked for in advance

// to[k] += weight * from[k]; with the usual number of channels known to the compiler.
template <int kChannels>
inline void add_scaled(float weight, const float* from, int channels, float* to) {
  const int n = kChannels ? kChannels : channels;
  int k = 0;
#pragma GCC unroll 2
  for (; k + kLanes <= n; k += kLanes) store(to + k, load(to + k) + splat(weight) * load(from + k));
  for (; k < n; ++k) to[k] += weight * from[k];
}

template <int kChannels>
void pixels(const SparseBlend& job, const float* values, int64_t begin, int64_t end, float* out) {
  const int64_t last = job.offsets[end];
  for (int64_t p = begin; p < end; ++p) {
    float* row = out + p * job.channels;
    std::memset(row, 0, sizeof(float) * job.channels);
    for (int64_t i = job.offsets[p]; i < job.offsets[p + 1]; ++i) {
      if (i + kAhead < last) __builtin_prefetch(values + int64_t(job.gaussians[i + kAhead]) * job.channels);
      add_scaled<kChannels>(job.weights[i], values + int64_t(job.gaussians[i]) * job.channels, job.channels, row);
    }
  }
}

template <int kChannels>
void gaussians(const SparseBlend& job, const float* gradient, int64_t begin, int64_t end, float* out) {
  std::memset(out + begin * job.channels, 0, sizeof(float) * size_t(end - begin) * job.channels);
  const int64_t last = job.offsets[job.num_pixels];
  for (int64_t p = 0; p < job.num_pixels; ++p) {
    const float* row = gradient + p * job.channels;
    for (int64_t i = job.offsets[p]; i < job.offsets[p + 1]; ++i) {
      if (i + kAhead < last) __builtin_prefetch(out + int64_t(job.gaussians[i + kAhead]) * job.channels, 1);
      const int64_t g = job.gaussians[i];
      if (g >= begin && g < end) add_scaled<kChannels>(job.weights[i], row, job.channels, out + g * job.channels);
    }
  }
}

}  // namespace

void blend_pixels(const SparseBlend& job, const float* values, int64_t begin, int64_t end, float* out) {
  job.channels == 16 ? pixels<16>(job, values, begin, end, out) : pixels<0>(job, values, begin, end, out);
}

void blend_gaussians(const SparseBlend& job, const float* gradient, int64_t begin, int64_t end, float* out) {
  job.channels == 16 ? gaussians<16>(job, gradient, begin, end, out) : gaussians<0>(job, gradient, begin, end, out);
}

}  // namespace cgc::CGC_ISA
