// Gaussians to the screen: what is visible, its ellipse, and the tiles it touches.
#include "coverage.h"
#include "kernels.h"
#include "projection.h"

namespace cgc::CGC_ISA {
namespace {

// Tile indices of rows [row0, row1] and columns [column0, column1] that a splat touches, appended to `tiles`.
int64_t append_tiles(const Splat& s, const View& view, const int32_t* box, GrowingBuffer& tiles, int64_t used) {
  const int column0 = box[0], column1 = box[1], row0 = box[2], row1 = box[3];
  const int tiles_x = view.tiles_x();
  const int64_t begin = used;
  const size_t need = size_t(used + int64_t(row1 - row0 + 1) * (column1 - column0 + 1)) * sizeof(int32_t);
  if (need > tiles.capacity) tiles.grow(need);
  auto* out = static_cast<int32_t*>(tiles.data);
  if (row0 == row1 || column0 == column1) {  // the ellipse touches all four sides of its box
    for (int row = row0; row <= row1; ++row)
      for (int column = column0; column <= column1; ++column) out[used++] = row * tiles_x + column;
    return used - begin;
  }
  const float x = float(s.x_whole - column0 * kTile) + s.x_fraction, y = float(s.y_whole) + s.y_fraction;
  for (int base = row0; base <= row1; base += kLanes) {
    vint first, last;
    cells_in_bands(s, x, y, float(base * kTile), kTile, kTile, column1 - column0 + 1, first, last);
    const int rows = row1 - base + 1 < kLanes ? row1 - base + 1 : kLanes;
    for (int i = 0; i < rows; ++i)
      for (int column = first[i]; column <= last[i]; ++column) out[used++] = (base + i) * tiles_x + column0 + column;
  }
  return used - begin;
}

}  // namespace

int64_t project(const Projection& job, int64_t begin, int64_t end, GrowingBuffer& tiles) {
  const View& view = job.view;
  const Lens lens = lens_of(view);
  const vfloat one = splat(1.0f), zero = splat(0.0f);
  const vfloat width = splat(float(view.width)), height = splat(float(view.height));
  int64_t used = 0;
  for (int64_t base = begin; base < end; base += kLanes) {
    int64_t index[kLanes];
    for (int l = 0; l < kLanes; ++l) index[l] = base + l < end ? base + l : end - 1;
    Lanes g;
    CameraPoints p;
    load_lanes(view, lens, job.gaussians, index, g, p);
    float opacities[kLanes], colors[3][kLanes] = {}, xs[kLanes], ys[kLanes], x_fractions[kLanes], y_fractions[kLanes];
    int32_t x_whole[kLanes], y_whole[kLanes];
    for (int l = 0; l < kLanes; ++l) {
      opacities[l] = job.gaussians.opacities[index[l]];
      const double x = view.fx * p.x[l] / p.z[l] + view.cx, y = view.fy * p.y[l] / p.z[l] + view.cy;
      const double x_floor = __builtin_floor(x), y_floor = __builtin_floor(y);
      xs[l] = float(x), ys[l] = float(y);
      x_fractions[l] = float(x - x_floor), y_fractions[l] = float(y - y_floor);
      x_whole[l] = int32_t(x_floor), y_whole[l] = int32_t(y_floor);  // read only where on the screen
    }
    if (job.colors)
      for (int l = 0; l < kLanes; ++l)
        for (int k = 0; k < 3; ++k) colors[k][l] = job.colors[3 * index[l] + k];

    const vfloat opacity = load(opacities), x = load(xs), y = load(ys);
    vint visible = (g.z >= splat(kNear)) & (g.z <= splat(kFar)) & (opacity >= splat(kAlphaMin)) &
                   (opacity < splat(1e30f)) & (g.det > zero) & (g.det < splat(1e30f));
    const vfloat log2_opacity = log2(select(visible, opacity, one));
    vfloat level = max(log2_opacity - splat(kLog2AlphaMin), zero);
    const vfloat extent = min(sqrt(splat(2 * 0.69314718f) * level), splat(kExtentMax));
    const vfloat half_x = extent * sqrt(g.cxx), half_y = extent * sqrt(g.cyy);
    const vfloat radius_x = ceil(half_x), radius_y = ceil(half_y), radius = max(radius_x, radius_y);
    visible &= (x + radius_x > zero) & (x - radius_x < width) & (y + radius_y > zero) & (y - radius_y < height) &
               (radius > zero) & (radius < splat(1e9f));
    const vint radii = to_int(only_where(visible, radius));
    for (int l = 0; l < kLanes && base + l < end; ++l) job.radii[base + l] = radii[l], job.num_tiles[base + l] = 0;
    if (!lane_bits(visible)) continue;

    // The Cholesky factor, what coverage asks of it, and the box of tiles whose pixel centres it can reach.
    const vfloat inverse_det = one / g.det;
    const vfloat a = splat(kWhiten) * sqrt(g.cyy * inverse_det), inverse_a = one / a;
    const vfloat b = splat(-kWhiten * kWhiten) * g.cxy * inverse_det * inverse_a, c = splat(kWhiten) / sqrt(g.cyy);
    level = level * splat(1.00001f) + splat(1e-4f);
    const vfloat tip = sqrt(level) * b / (c * sqrt(b * b + c * c));
    const vfloat error = splat(2e-3f) + splat(1e-5f) * (half_x + half_y);
    const vfloat slack = splat(0.02f), half_pixel = splat(0.5f), to_tiles = splat(1.0f / kTile);
    const vfloat last_x = splat(float(view.tiles_x() - 1)), last_y = splat(float(view.tiles_y() - 1));
    const vfloat wide = half_x * splat(1.0001f) + slack, tall = half_y * splat(1.0001f) + slack;
    int32_t boxes[4][kLanes];
    store(boxes[0], to_int(max(floor(ceil(x - wide - half_pixel) * to_tiles), zero)));
    store(boxes[1], to_int(min(floor(floor(x + wide - half_pixel) * to_tiles), last_x)));
    store(boxes[2], to_int(max(floor(ceil(y - tall - half_pixel) * to_tiles), zero)));
    store(boxes[3], to_int(min(floor(floor(y + tall - half_pixel) * to_tiles), last_y)));
    vfloat low[kLanes] = {from_bits(load(x_whole)),
                          from_bits(load(y_whole)),
                          load(x_fractions),
                          load(y_fractions),
                          a,
                          b,
                          c,
                          log2_opacity};
    vfloat high[kLanes] = {level, tip, inverse_a, error, load(colors[0]), load(colors[1]), load(colors[2]), g.z};
    transpose(low), transpose(high);
    for (int visible_bits = lane_bits(visible); visible_bits; visible_bits &= visible_bits - 1) {
      const int l = __builtin_ctz(visible_bits);
      const int64_t i = base + l;
      if (i >= end) break;
      Splat& s = job.splats[i];
      std::memcpy(&s, &low[l], sizeof(vfloat));
      std::memcpy(&s.level, &high[l], sizeof(vfloat));
      const int32_t box[4] = {boxes[0][l], boxes[1][l], boxes[2][l], boxes[3][l]};
      if (box[0] > box[1] || box[2] > box[3]) continue;
      const int64_t n = append_tiles(s, view, box, tiles, used);
      job.num_tiles[i] = int32_t(n);
      used += n;
    }
  }
  return used;
}

}  // namespace cgc::CGC_ISA
