// Which cells of a grid an ellipse can touch: exact but for a slack that only ever adds cells.
#pragma once

#include "scene.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

// For eight bands of `height` pixel rows from row `top` on, the first and last cell of `width` pixels that the splat
// reaches (first > last: none). (x, y) is its mean and all rows and cells are counted from the grid's corner.
inline void cells_in_bands(const Splat& s, float x, float y, float top, float height, float width, int num_cells,
                           vint& first, vint& last) {
  const vfloat band = {0, 1, 2, 3, 4, 5, 6, 7}, zero = splat(0.0f);
  vfloat y0 = splat(top + 0.5f - y) + band * splat(height);  // first and last pixel centre of the band
  vfloat y1 = y0 + splat(height - 1.0f);
  vfloat dy_right = min(max(splat(-s.tip), y0), y1), dy_left = min(max(splat(s.tip), y0), y1);
  vfloat v_right = splat(s.c) * dy_right, v_left = splat(s.c) * dy_left;
  // Half widths times a; NaN in bands that the ellipse does not reach, which ends as an empty row.
  vfloat half_right = rough_sqrt(splat(s.level) - v_right * v_right);
  vfloat half_left = rough_sqrt(splat(s.level) - v_left * v_left);
  // In cells: a pixel centre's cell is the whole part of its coordinate, and a half is a pixel's way to its edge.
  const float to_cells = 1.0f / width;
  const vfloat half_scale = splat(1.0005f * s.inverse_a * to_cells), lean = splat(s.b * s.inverse_a * to_cells);
  vfloat from = splat((x + 0.5f - s.slack) * to_cells) - lean * dy_left - half_scale * half_left;
  vfloat to = splat((x - 0.5f + s.slack) * to_cells + 1.0f) - lean * dy_right + half_scale * half_right;
  first = to_int(min(max(from, zero), splat(float(num_cells))));
  last = to_int(min(max(to, zero), splat(float(num_cells)))) - splat(1);
}

// One bit for each of a tile's blocks (row-major, 4 to a row); (x, y) from the tile's corner.
inline uint32_t blocks_touched(const Splat& s, float x, float y) {
  vint first, last;
  cells_in_bands(s, x, y, 0.0f, kBlockHeight, kBlockWidth, kTile / kBlockWidth, first, last);
  // Unsigned, since what lies beyond bit 31 is to be dropped. An empty row's first cell may be 4, its last -1: no numbers
  // to shift by.
  typedef uint32_t vuint __attribute__((vector_size(32)));
  const vint row = {0, 4, 8, 12, 16, 20, 24, 28};
  const vuint begin = (vuint)(row + (first & splat(3))), end = (vuint)(row + (last & splat(3)));
  const vuint filled = ((vuint)splat(2) << end) - ((vuint)splat(1) << begin);
  const vint cells = select(first > last, splat(0), (vint)filled);
  uint64_t halves[4];
  std::memcpy(halves, &cells, sizeof halves);
  const uint64_t all = halves[0] | halves[1] | halves[2] | halves[3];
  return uint32_t(all) | uint32_t(all >> 32);
}

}  // namespace
}  // namespace cgc::CGC_ISA
