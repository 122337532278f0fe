// Where depths land in a source, what it shows there, and one score of several sources'.
#pragma once

#include "simd.h"
#include "stereo.h"

namespace cgc::CGC_ISA {
namespace {

constexpr float kNearestZ = 1e-6f;  // of homogeneous coordinates: behind the camera from here on

inline vfloat to_float(vint v) { return __builtin_convertvector(v, vfloat); }
inline vfloat absolute(vfloat v) { return from_bits(bits(v) & splat(int32_t(0x7fffffff))); }
inline vint is_nan(vfloat v) { return v != v; }

// 1 / sqrt of positive numbers, to a few units of the last place.
inline vfloat inverse_sqrt(vfloat v) {
#if defined(__AVX__)
  const vfloat r = (vfloat)_mm256_rsqrt_ps((__m256)v);
  return r * (splat(1.5f) - splat(0.5f) * v * r * r);
#else
  return splat(1.0f) / sqrt(v);
#endif
}

struct Landing {
  vfloat x, y;  // pixels
  vint ahead;   // before the camera
};

// The points of eight pixels from (x, y) on.
inline Landing land(const MatchSource& source, int x, int y, vfloat w) {
  const float* c = source.columns;
  const vfloat column = splat(float(x)) + lane_numbers();
  const float fy = float(y);
  const vfloat u = splat(c[0]) * column + splat(c[1] * fy + c[2]) + w * splat(source.parallax[0]);
  const vfloat v = splat(c[3]) * column + splat(c[4] * fy + c[5]) + w * splat(source.parallax[1]);
  const vfloat z = splat(c[6]) * column + splat(c[7] * fy + c[8]) + w * splat(source.parallax[2]);
  const vint ahead = z > splat(kNearestZ);
  const vfloat reciprocal = splat(1.0f) / select(ahead, z, splat(kNearestZ));
  return {u * reciprocal, v * reciprocal, ahead};
}

// Grey values less 0.5, bilinear, NaN where any of the four pixels is blind or lies in the outermost rows or columns or
// beyond.
inline vfloat sample(const MatchSource& source, const Landing& at) {
  const vint inside = at.ahead & (at.x >= splat(1.0f)) & (at.y >= splat(1.0f)) &
                      (at.x < splat(float(source.width - 2))) & (at.y < splat(float(source.height - 2)));
  if (!lane_bits(inside)) return splat(__builtin_nanf(""));
  const vfloat x = select(inside, at.x, splat(1.0f)), y = select(inside, at.y, splat(1.0f));
  const vint column = to_int(x), row = to_int(y);
  const vfloat right = x - to_float(column), lower = y - to_float(row);
  const vint index = row * source.width + column;
  const vint top = gather(source.pairs, index), bottom = gather(source.pairs + source.width, index);
  const vint low = splat(int32_t(0xffff));
  const vfloat a = to_float(top & low), b = to_float((top >> 16) & low);
  const vfloat c = to_float(bottom & low), d = to_float((bottom >> 16) & low);
  const vfloat blind = splat(float(kBlind));
  const vint seen = inside & (a < blind) & (b < blind) & (c < blind) & (d < blind);
  const vfloat upper = a + right * (b - a), under = c + right * (d - c);
  const vfloat grey = (upper + lower * (under - upper)) * splat(1.0f / kWhite) - splat(0.5f);
  return select(seen, grey, splat(__builtin_nanf("")));
}

// matching.py: over_sources. NaN is a source that does not see the point.
inline vfloat over_sources(const vfloat* scores, int count, float hidden) {
  const vfloat none = splat(-1.0f);
  if (count == 1) return select(is_nan(scores[0]), none, scores[0]);
  vfloat seen = splat(0.0f), total = splat(0.0f), first = none, second = none;
  for (int s = 0; s < count; ++s) {
    const vint blind = is_nan(scores[s]);
    const vfloat score = select(blind, none, scores[s]);
    seen += select(blind, splat(0.0f), splat(1.0f));
    total += select(blind, splat(0.0f), score);
    second = max(second, min(first, score));
    first = max(first, score);
  }
  const vfloat mean = total / max(seen, splat(1.0f));
  const vfloat better = select(seen > splat(2.0f), splat(0.5f) * (first + second), first);
  return select(seen > splat(0.0f), max(mean, better - splat(hidden)), none);
}

inline float* reserve(GrowingBuffer& buffer, size_t floats) {
  if (buffer.capacity < floats * sizeof(float)) buffer.grow(floats * sizeof(float));
  return static_cast<float*>(buffer.data);
}

}  // namespace
}  // namespace cgc::CGC_ISA
