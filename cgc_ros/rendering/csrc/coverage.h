// Which cells of a grid an ellipse can touch: exact but for a slack that only ever adds cells.
#pragma once

#include "scene.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

// The ellipse |(a dx + b dy, c dy)|^2 <= level about (x, y). Coordinates are pixels from the grid's corner.
struct Ellipse {
  float x, y, a, b, c, level;
};

inline Ellipse ellipse_of(const Splat& s, int grid_x, int grid_y) {
  float level = s.log2_opacity - kLog2AlphaMin;
  return {float(s.x_whole - grid_x) + s.x_fraction, float(s.y_whole - grid_y) + s.y_fraction, s.a, s.b, s.c,
          level * 1.00001f + 1e-4f};
}

// For eight bands of `height` pixel rows from `top` on, the first and last cell of `width` pixels (first > last: none).
inline void cells_in_bands(const Ellipse& e, float top, float height, float width, int num_cells, vint& first, vint& last) {
  const vfloat band = {0, 1, 2, 3, 4, 5, 6, 7};
  vfloat y0 = splat(top + 0.5f - e.y) + band * splat(height);  // first and last pixel centre of the band
  vfloat y1 = y0 + splat(height - 1.0f);
  const float reach = __builtin_sqrtf(e.level) / e.c;  // the ellipse spans dy in [-reach, reach]
  const float tip = reach * e.b / __builtin_sqrtf(e.b * e.b + e.c * e.c);  // the rightmost point is at dy = -tip
  vint empty = (y0 > splat(reach)) | (y1 < splat(-reach));
  auto half_width = [&](vfloat dy) {
    vfloat v = splat(e.c) * dy;
    return sqrt(max(splat(e.level) - v * v, splat(0.0f)));
  };
  const float inverse_a = 1.0f / e.a;
  vfloat dy_right = min(max(splat(-tip), y0), y1), dy_left = min(max(splat(tip), y0), y1);
  vfloat right = (half_width(dy_right) - splat(e.b) * dy_right) * splat(inverse_a);
  vfloat left = (-half_width(dy_left) - splat(e.b) * dy_left) * splat(inverse_a);
  vfloat slack = splat(1e-3f) + splat(4e-6f) * (max(right, -right) + max(left, -left));
  const float inverse_width = 1.0f / width;
  vfloat from = ceil((left - slack + splat(e.x + 0.5f)) * splat(inverse_width) - splat(1.0f));
  vfloat to = floor((right + slack + splat(e.x - 0.5f)) * splat(inverse_width));
  from = min(max(from, splat(0.0f)), splat(float(num_cells)));
  to = max(min(to, splat(float(num_cells - 1))), splat(-1.0f));
  first = to_int(select(empty, splat(float(num_cells)), from));
  last = to_int(select(empty, splat(-1.0f), to));
}

// One bit for each of a tile's blocks (row-major, 4 to a row).
inline uint32_t blocks_touched(const Ellipse& e) {
  vint first, last;
  cells_in_bands(e, 0.0f, kBlockHeight, kBlockWidth, kTile / kBlockWidth, first, last);
  const vint one = splat(1), shift = {0, 4, 8, 12, 16, 20, 24, 28};
  vint row = ((one << (last + one)) - (one << first));
  row = (first > last) ? splat(0) : row;
  row = row << shift;
  uint32_t r = 0;
  for (int i = 0; i < kLanes; ++i) r |= uint32_t(row[i]);
  return r;
}

}  // namespace
}  // namespace cgc::CGC_ISA
