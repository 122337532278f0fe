#include "carving.h"

#include <algorithm>
#include <cmath>

#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr float kNear = 1e-3f;  // metres before the camera from which on anything is seen
constexpr float kFar = 1e30f;

typedef uint8_t vbyte __attribute__((vector_size(8)));
typedef int8_t vsigned __attribute__((vector_size(8)));

inline vint to_mask(bool on) { return splat(int32_t(on ? -1 : 0)); }

// Where the voxels of a block lie in the view.
struct Extent {
  float near, far;                 // depth of the nearest and the farthest centre
  float left, right, top, bottom;  // pixels
};

// Counts one more in the lanes of a mask, in the first `count` voxels from `at` on.
inline void count_up(uint8_t* at, vint mask, int count) {
  vbyte counts{};
  std::memcpy(&counts, at, size_t(count));
  const vbyte one = (vbyte) __builtin_convertvector(mask, vsigned) & 1;
  counts += one & (vbyte)(counts != 255);
  std::memcpy(at, &counts, size_t(count));
}

Extent extent_of(const CarveJob& job, const int64_t first[3], const int64_t last[3]) {
  Extent e{kFar, -kFar, kFar, -kFar, kFar, -kFar};
  const float* m = job.from_grid;
  for (int corner = 0; corner < 8; ++corner) {
    const float i = float(corner & 1 ? last[0] : first[0]), j = float(corner & 2 ? last[1] : first[1]),
                k = float(corner & 4 ? last[2] : first[2]);
    const float x = m[0] * i + m[1] * j + m[2] * k + m[3], y = m[4] * i + m[5] * j + m[6] * k + m[7],
                z = m[8] * i + m[9] * j + m[10] * k + m[11];
    e.near = std::min(e.near, z), e.far = std::max(e.far, z);
    if (z <= kNear) continue;
    const float u = job.fx * x / z + job.cx, v = job.fy * y / z + job.cy;
    e.left = std::min(e.left, u), e.right = std::max(e.right, u);
    e.top = std::min(e.top, v), e.bottom = std::max(e.bottom, v);
  }
  return e;
}

enum class Sight { nothing, all_free, mixed };

// What the view says of a whole block, by the tiles that it lies in.
Sight sight_of(const CarveJob& job, const Extent& e) {
  if (e.far <= kNear) return Sight::nothing;
  if (e.near <= kNear) return Sight::mixed;
  if (e.right < 0 || e.left >= job.width || e.bottom < 0 || e.top >= job.height) return Sight::nothing;
  const int across = (job.width + kCarveTile - 1) / kCarveTile;
  const auto tile = [](float pixel, int size) { return int(std::clamp(pixel, 0.0f, float(size - 1))) / kCarveTile; };
  float farthest = 0, closest = kFar;
  for (int y = tile(e.top, job.height); y <= tile(e.bottom, job.height); ++y)
    for (int x = tile(e.left, job.width); x <= tile(e.right, job.width); ++x) {
      farthest = std::max(farthest, job.farthest[y * across + x]);
      closest = std::min(closest, job.closest[y * across + x]);
    }
  if (e.near > farthest * (1 + job.band_share) + job.band) return Sight::nothing;
  const bool inside = e.left >= 0 && e.right < job.width && e.top >= 0 && e.bottom < job.height;
  const bool before =
      e.far < closest * (1 - job.clearance_share) - job.clearance && e.far < closest * (1 - job.band_share) - job.band;
  return inside && before ? Sight::all_free : Sight::mixed;
}

// Up to eight voxels of a row.
void look_at_row(const CarveJob& job, int64_t i, int64_t j, int64_t k, int count) {
  const float* m = job.from_grid;
  const vfloat along = splat(float(k)) + lane_numbers();
  const float fi = float(i), fj = float(j);
  const vfloat x = splat(m[0] * fi + m[1] * fj + m[3]) + splat(m[2]) * along;
  const vfloat y = splat(m[4] * fi + m[5] * fj + m[7]) + splat(m[6]) * along;
  const vfloat z = splat(m[8] * fi + m[9] * fj + m[11]) + splat(m[10]) * along;
  const vfloat inverse = splat(1.0f) / max(z, splat(kNear));
  const vfloat u = floor(splat(job.fx) * x * inverse + splat(job.cx));
  const vfloat v = floor(splat(job.fy) * y * inverse + splat(job.cy));
  const vint inside = (vint)(z > splat(kNear)) & (vint)(u >= splat(0.0f)) & (vint)(u < splat(float(job.width))) &
                      (vint)(v >= splat(0.0f)) & (vint)(v < splat(float(job.height)));
  if (!lane_bits(inside)) return;
  const vint pixel = to_int(only_where(inside, v)) * splat(int32_t(job.width)) + to_int(only_where(inside, u));
  const vfloat surface = gather(job.surface, pixel), nearest = gather(job.nearest, pixel);
  const vint is_free = inside & (vint)(z < nearest * splat(1 - job.clearance_share) - splat(job.clearance));
  const vfloat off = z - surface, band = splat(job.band) + splat(job.band_share) * surface;
  const vint is_hit = inside & (vint)(surface > splat(0.0f)) & (vint)(off <= band) & (vint)(-off <= band);
  const int64_t at = (i * job.ny + j) * job.nz + k;
  count_up(job.free + at, is_free & ~is_hit, count);
  count_up(job.hit + at, is_hit, count);
}

}  // namespace

void carve_blocks(const CarveJob& job, int64_t begin, int64_t end) {
  const int64_t rows = (job.ny + kCarveBlock - 1) / kCarveBlock, depth = (job.nz + kCarveBlock - 1) / kCarveBlock;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first[3] = {block / (rows * depth) * kCarveBlock, block / depth % rows * kCarveBlock,
                              block % depth * kCarveBlock};
    const int64_t last[3] = {std::min(first[0] + kCarveBlock, job.nx) - 1, std::min(first[1] + kCarveBlock, job.ny) - 1,
                             std::min(first[2] + kCarveBlock, job.nz) - 1};
    const Sight sight = sight_of(job, extent_of(job, first, last));
    if (sight == Sight::nothing) continue;
    const int count = int(last[2] - first[2]) + 1;
    for (int64_t i = first[0]; i <= last[0]; ++i)
      for (int64_t j = first[1]; j <= last[1]; ++j) {
        if (sight == Sight::all_free)
          count_up(job.free + (i * job.ny + j) * job.nz + first[2], to_mask(true), count);
        else
          look_at_row(job, i, j, first[2], count);
      }
  }
}

}  // namespace cgc::CGC_ISA
