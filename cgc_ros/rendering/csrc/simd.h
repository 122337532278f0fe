// Eight-lane vectors on GCC/Clang vector extensions: AVX, SSE and NEON from one source.
//
// This header is compiled once for every instruction set. Everything in it has internal linkage, so that the linker can
// never hand code made for a newer processor to an older one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef CGC_ISA
#error "CGC_ISA names the instruction set this file is compiled for; CMakeLists.txt sets it"
#endif

namespace cgc::CGC_ISA {
namespace {

typedef float vfloat __attribute__((vector_size(32)));
typedef int32_t vint __attribute__((vector_size(32)));
typedef float vfloat4 __attribute__((vector_size(16)));

constexpr int kLanes = 8;

inline vfloat load(const float* p) {
  vfloat v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline vint load(const int32_t* p) {
  vint v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline vfloat4 load4(const float* p) {
  vfloat4 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, vfloat v) { std::memcpy(p, &v, sizeof v); }
inline void store(int32_t* p, vint v) { std::memcpy(p, &v, sizeof v); }
inline void store4(float* p, vfloat4 v) { std::memcpy(p, &v, sizeof v); }

inline vfloat splat(float x) { return vfloat{x, x, x, x, x, x, x, x}; }
inline vint splat(int32_t x) { return vint{x, x, x, x, x, x, x, x}; }
inline vfloat4 splat4(float x) { return vfloat4{x, x, x, x}; }

inline vfloat lane_numbers() { return vfloat{0, 1, 2, 3, 4, 5, 6, 7}; }

inline vint bits(vfloat v) { return (vint)v; }
inline vfloat from_bits(vint v) { return (vfloat)v; }
inline vfloat only_where(vint mask, vfloat v) { return from_bits(mask & bits(v)); }
inline vfloat select(vint mask, vfloat a, vfloat b) {
#if defined(__AVX__)
  return (vfloat)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#else
  return from_bits((mask & bits(a)) | (~mask & bits(b)));
#endif
}
inline vint select(vint mask, vint a, vint b) { return (mask & a) | (~mask & b); }

// Where a is NaN, the result is b.
inline vfloat min(vfloat a, vfloat b) {
#if defined(__AVX__)
  return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}
inline vfloat max(vfloat a, vfloat b) {
#if defined(__AVX__)
  return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}
inline vfloat sqrt(vfloat v) {
#if defined(__AVX__)
  return (vfloat)_mm256_sqrt_ps((__m256)v);
#else
  vfloat r;
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(v[i]);
  return r;
#endif
}
inline vfloat floor(vfloat v) {
#if defined(__AVX__)
  return (vfloat)_mm256_floor_ps((__m256)v);
#else
  vfloat r;
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_floorf(v[i]);
  return r;
#endif
}
inline vfloat ceil(vfloat v) { return -floor(-v); }
inline vint to_int(vfloat v) { return __builtin_convertvector(v, vint); }

inline vint gather(const uint32_t* base, vint index) {
#if defined(__AVX2__)
  return (vint)_mm256_i32gather_epi32(reinterpret_cast<const int*>(base), (__m256i)index, 4);
#else
  vint r;
  for (int i = 0; i < kLanes; ++i) r[i] = int32_t(base[index[i]]);
  return r;
#endif
}
inline vfloat gather(const float* base, vint index) {
#if defined(__AVX2__)
  return (vfloat)_mm256_i32gather_ps(base, (__m256i)index, 4);
#else
  vfloat r;
  for (int i = 0; i < kLanes; ++i) r[i] = base[index[i]];
  return r;
#endif
}

// One bit a lane, lane 0 lowest: the lanes' sign bits.
inline int lane_bits(vint mask) {
#if defined(__AVX__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
  __m128 half[2];
  std::memcpy(half, &mask, sizeof half);
  return _mm_movemask_ps(half[0]) | _mm_movemask_ps(half[1]) << 4;
#elif defined(__aarch64__)
  const vint bit = (mask >> 31) & vint{1, 2, 4, 8, 16, 32, 64, 128};
  int32x4_t half[2];
  std::memcpy(half, &bit, sizeof half);
  return vaddvq_s32(vaddq_s32(half[0], half[1]));
#else
  int r = 0;
  for (int i = 0; i < kLanes; ++i) r |= int(uint32_t(mask[i]) >> 31) << i;
  return r;
#endif
}

inline float sum(vfloat v) {
  vfloat4 lo, hi;
  std::memcpy(&lo, &v, 16);
  std::memcpy(&hi, reinterpret_cast<const char*>(&v) + 16, 16);
  vfloat4 s = lo + hi;
  return (s[0] + s[2]) + (s[1] + s[3]);
}

// 2^x to 2e-7 for -126 < x < 128, exact at 0; lanes outside are garbage that the caller masks.
inline vfloat exp2(vfloat x) {
  const vfloat shifter = splat(12582912.0f);  // 1.5 * 2^23: rounds to the nearest integer
  vfloat t = x + shifter;
  vfloat f = x - (t - shifter);  // in [-0.5, 0.5]
  vfloat r = splat(1.3264726e-3f);  // minimax of relative error with the constant term 1: 9e-8
  r = r * f + splat(9.671513e-3f);
  r = r * f + splat(5.5507336e-2f);
  r = r * f + splat(2.4022242e-1f);
  r = r * f + splat(6.93147e-1f);
  r = r * f + splat(1.0f);
  return from_bits(bits(r) + (bits(t) << 23));
}

// log2 of positive normal numbers, to 1e-7 of the result or of 1, whichever is more; exact at 1.
inline vfloat log2(vfloat x) {
  const vint exponent = (bits(x) - bits(splat(0.70710678f))) >> 23;  // leaves a mantissa in [sqrt(1/2), sqrt(2))
  vfloat m = from_bits(bits(x) - (exponent << 23));
  vfloat s = (m - splat(1.0f)) / (m + splat(1.0f)), s2 = s * s;
  vfloat r = splat(2.885390082f / 9);
  r = r * s2 + splat(2.885390082f / 7);
  r = r * s2 + splat(2.885390082f / 5);
  r = r * s2 + splat(2.885390082f / 3);
  r = r * s2 + splat(2.885390082f);
  return __builtin_convertvector(exponent, vfloat) + s * r;
}

// sqrt to a relative error of 4e-4 at most, where the hardware has an estimate; NaN for negative numbers, not for use
// at 0.
inline vfloat rough_sqrt(vfloat v) {
#if defined(__AVX__)
  return v * (vfloat)_mm256_rsqrt_ps((__m256)v);
#else
  return sqrt(v);
#endif
}

// Rows of an 8x8 matrix become its columns.
inline void transpose(vfloat* r) {
#define CGC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
  vfloat a0 = CGC_SHUFFLE(r[0], r[1], 0, 8, 1, 9, 4, 12, 5, 13),
         a1 = CGC_SHUFFLE(r[0], r[1], 2, 10, 3, 11, 6, 14, 7, 15);
  vfloat a2 = CGC_SHUFFLE(r[2], r[3], 0, 8, 1, 9, 4, 12, 5, 13),
         a3 = CGC_SHUFFLE(r[2], r[3], 2, 10, 3, 11, 6, 14, 7, 15);
  vfloat a4 = CGC_SHUFFLE(r[4], r[5], 0, 8, 1, 9, 4, 12, 5, 13),
         a5 = CGC_SHUFFLE(r[4], r[5], 2, 10, 3, 11, 6, 14, 7, 15);
  vfloat a6 = CGC_SHUFFLE(r[6], r[7], 0, 8, 1, 9, 4, 12, 5, 13),
         a7 = CGC_SHUFFLE(r[6], r[7], 2, 10, 3, 11, 6, 14, 7, 15);
  vfloat b0 = CGC_SHUFFLE(a0, a2, 0, 1, 8, 9, 4, 5, 12, 13), b1 = CGC_SHUFFLE(a0, a2, 2, 3, 10, 11, 6, 7, 14, 15);
  vfloat b2 = CGC_SHUFFLE(a1, a3, 0, 1, 8, 9, 4, 5, 12, 13), b3 = CGC_SHUFFLE(a1, a3, 2, 3, 10, 11, 6, 7, 14, 15);
  vfloat b4 = CGC_SHUFFLE(a4, a6, 0, 1, 8, 9, 4, 5, 12, 13), b5 = CGC_SHUFFLE(a4, a6, 2, 3, 10, 11, 6, 7, 14, 15);
  vfloat b6 = CGC_SHUFFLE(a5, a7, 0, 1, 8, 9, 4, 5, 12, 13), b7 = CGC_SHUFFLE(a5, a7, 2, 3, 10, 11, 6, 7, 14, 15);
  r[0] = CGC_SHUFFLE(b0, b4, 0, 1, 2, 3, 8, 9, 10, 11), r[4] = CGC_SHUFFLE(b0, b4, 4, 5, 6, 7, 12, 13, 14, 15);
  r[1] = CGC_SHUFFLE(b1, b5, 0, 1, 2, 3, 8, 9, 10, 11), r[5] = CGC_SHUFFLE(b1, b5, 4, 5, 6, 7, 12, 13, 14, 15);
  r[2] = CGC_SHUFFLE(b2, b6, 0, 1, 2, 3, 8, 9, 10, 11), r[6] = CGC_SHUFFLE(b2, b6, 4, 5, 6, 7, 12, 13, 14, 15);
  r[3] = CGC_SHUFFLE(b3, b7, 0, 1, 2, 3, 8, 9, 10, 11), r[7] = CGC_SHUFFLE(b3, b7, 4, 5, 6, 7, 12, 13, 14, 15);
}

// The sums of six vectors over lanes 0 to 3, in out[0] to out[5], and over lanes 4 to 7, in out[8] to out[13]; what
// stands between is garbage.
inline void sums_of_halves(const vfloat* r, float* out) {
  auto pair = [](vfloat x, vfloat y) {  // x0+x1 x2+x3 y0+y1 y2+y3 | the same of the upper half
    return CGC_SHUFFLE(x, y, 0, 2, 8, 10, 4, 6, 12, 14) + CGC_SHUFFLE(x, y, 1, 3, 9, 11, 5, 7, 13, 15);
  };
  const vfloat s45 = pair(r[4], r[5]);
  const vfloat s0123 = pair(pair(r[0], r[1]), pair(r[2], r[3])), s4545 = pair(s45, s45);
  store(out, CGC_SHUFFLE(s0123, s4545, 0, 1, 2, 3, 8, 9, 10, 11));
  store(out + kLanes, CGC_SHUFFLE(s0123, s4545, 4, 5, 6, 7, 12, 13, 14, 15));
#undef CGC_SHUFFLE
}

}  // namespace
}  // namespace cgc::CGC_ISA
