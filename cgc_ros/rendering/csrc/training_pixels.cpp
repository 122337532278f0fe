// A render against its keyframe, pixel by pixel: exposure, and the gradients of colour and depth.
#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int kPixels = 8;             // of one turn: three vectors of interleaved colour

// A positive half-precision number; infinities become 65536.
inline float from_half(uint16_t half) {
  const uint32_t bits = uint32_t(half & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value * 0x1p112f;
}

// Three numbers, one for each channel, in the order of eight interleaved pixels.
struct ByChannel {
  vfloat v[3];
  explicit ByChannel(const float* x)
      : v{{x[0], x[1], x[2], x[0], x[1], x[2], x[0], x[1]},
          {x[2], x[0], x[1], x[2], x[0], x[1], x[2], x[0]},
          {x[1], x[2], x[0], x[1], x[2], x[0], x[1], x[2]}} {}
};

void add_by_channel(const vfloat* sums, double* out) {
  for (int k = 0; k < 3; ++k)
    for (int l = 0; l < kLanes; ++l) out[(k * kLanes + l) % 3] += double(sums[k][l]);
}

// Zeros among eight interleaved pixels' values where the mask leaves one out.
inline void leave_out(const uint8_t* mask, vfloat* values) {
  uint64_t bytes;
  std::memcpy(&bytes, mask, sizeof bytes);
  if (bytes == 0x0101010101010101u) return;
  for (int i = 0; i < 3 * kPixels; ++i)
    if (!mask[i / 3]) values[i / kLanes][i % kLanes] = 0.0f;
}

template <bool kMasked>
inline bool has_depth(const TargetPixels& job, int64_t pixel) {  // all is read, so that loops become vectors
  const bool measured = (job.depth_halves[pixel] & 0x7fffu) != 0, solid = job.alpha[pixel] > job.depth_min_alpha;
  return measured & solid & (!kMasked || job.mask[pixel] != 0);
}

template <bool kMasked>
void expose(const TargetPixels& job, int64_t begin, int64_t end, ExposureSums& sums) {
  for (int64_t i = 3 * begin; i < 3 * end; ++i) job.target[i] = float(job.color_bytes[i]) * (1.0f / 255.0f);
  const ByChannel gain(job.gain), offset(job.offset);
  vfloat squares = splat(0.0f);
  int64_t pixel = begin;
  for (; pixel + kPixels <= end; pixel += kPixels) {
    vfloat errors[3];
    for (int k = 0; k < 3; ++k) {
      const int64_t at = 3 * pixel + k * kLanes;
      const vfloat exposed = load(job.color + at) * gain.v[k] + offset.v[k];
      errors[k] = exposed - load(job.target + at);
      store(job.exposed + at, exposed);
    }
    if (kMasked) leave_out(job.mask + pixel, errors);
    for (int k = 0; k < 3; ++k) squares += errors[k] * errors[k];
  }
  sums.squares += double(sum(squares));
  for (int64_t i = 3 * pixel; i < 3 * end; ++i) {
    job.exposed[i] = job.color[i] * job.gain[i % 3] + job.offset[i % 3];
    if (kMasked && !job.mask[i / 3]) continue;
    const float error = job.exposed[i] - job.target[i];
    sums.squares += double(error * error);
  }
  if (!job.depth) return;
  for (int64_t i = begin; i < end; ++i) sums.with_depth += has_depth<kMasked>(job, i);
}

template <bool kMasked>
void depth_gradient(const TargetPixels& job, float depth_scale, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float depth = from_half(job.depth_halves[i]), error = job.depth[i] - depth;
    const float slope = has_depth<kMasked>(job, i) ? depth_scale / (depth > 1e-6f ? depth : 1e-6f) : 0.0f;
    const bool near = __builtin_fabsf(error) <= job.depth_max_error * depth;
    const float sign = float(error > 0.0f) - float(error < 0.0f);
    job.depth_gradient[i] = near ? sign * slope : 0.0f;
  }
}

}  // namespace

void expose_pixels(const TargetPixels& job, int64_t begin, int64_t end, ExposureSums& sums) {
  if (job.mask)
    expose<true>(job, begin, end, sums);
  else
    expose<false>(job, begin, end, sums);
}

void loss_gradient_pixels(const TargetPixels& job, float depth_scale, int64_t begin, int64_t end,
                          ExposureGradient& sums) {
  const ByChannel gain(job.gain);
  vfloat by_gain[3], by_offset[3];
  for (int k = 0; k < 3; ++k) by_gain[k] = by_offset[k] = splat(0.0f);
  int64_t pixel = begin;
  for (; pixel + kPixels <= end; pixel += kPixels) {
    for (int k = 0; k < 3; ++k) {
      const int64_t at = 3 * pixel + k * kLanes;
      const vfloat gradient = load(job.color_gradient + at);
      by_gain[k] += gradient * load(job.color + at);
      by_offset[k] += gradient;
      store(job.color_gradient + at, gradient * gain.v[k]);
    }
  }
  add_by_channel(by_gain, sums.gain), add_by_channel(by_offset, sums.offset);
  for (int64_t i = 3 * pixel; i < 3 * end; ++i) {
    const float gradient = job.color_gradient[i];
    sums.gain[i % 3] += double(gradient * job.color[i]), sums.offset[i % 3] += double(gradient);
    job.color_gradient[i] = gradient * job.gain[i % 3];
  }
  if (job.depth && job.mask)
    depth_gradient<true>(job, depth_scale, begin, end);
  else if (job.depth)
    depth_gradient<false>(job, depth_scale, begin, end);
}

}  // namespace cgc::CGC_ISA
