// Gaussians to the screen and gradients back: EWA splatting by gsplat 1.5.3's conventions, eight Gaussians at a time.
//
// With W = camera rotation, Q = the quaternion's rotation, S = scales and J = the projection's Jacobian, the screen
// covariance is M M^T + kBlur I with M = J W Q S (2 x 3). Its determinant is |m1 x m2|^2 + kBlur (|m1|^2 + |m2|^2) +
// kBlur^2 (Cauchy-Binet): sums of positive terms, exact where c_xx c_yy - c_xy^2 cancels.
#include "coverage.h"
#include "kernels.h"

namespace cgc::CGC_ISA {
namespace {

struct Lens {
  float x_low, x_high, y_low, y_high;  // limits of x/z and y/z in the Jacobian
};

Lens lens_of(const View& v) {
  const double margin_x = 0.3 * 0.5 * v.width / v.fx, margin_y = 0.3 * 0.5 * v.height / v.fy;
  return {float(-(v.cx / v.fx + margin_x)), float((v.width - v.cx) / v.fx + margin_x),
          float(-(v.cy / v.fy + margin_y)), float((v.height - v.cy) / v.fy + margin_y)};
}

struct CameraPoints {
  double x[kLanes], y[kLanes], z[kLanes];
};

// Eight Gaussians with everything that the forward and the backward pass have in common.
struct Lanes {
  vfloat mean[3];            // world
  vfloat x, y, z;            // camera
  vfloat q[4], norm;         // unit quaternion, length before
  vfloat rotation[3][3];     // of the quaternion
  vfloat axes[3][3];         // camera rotation * rotation
  vfloat scale[3];
  vfloat jx, jxz, jy, jyz;   // Jacobian: [jx 0 jxz; 0 jy jyz]
  vint x_clamped, y_clamped;
  vfloat slope_x, slope_y;   // x/z, y/z clamped
  vfloat m1[3], m2[3];
  vfloat cxx, cxy, cyy, det;
};

// Lane l holds Gaussian index[l].
void load_lanes(const View& view, const Lens& lens, const Gaussians& g, const int64_t* index, Lanes& o, CameraPoints& p) {
  float raw[11][kLanes];
  for (int l = 0; l < kLanes; ++l) {
    const int64_t i = index[l];
    for (int k = 0; k < 3; ++k) raw[k][l] = g.means[3 * i + k];
    for (int k = 0; k < 4; ++k) raw[3 + k][l] = g.quats[4 * i + k];
    for (int k = 0; k < 3; ++k) raw[7 + k][l] = g.scales[3 * i + k];
  }
  // In double: depths decide the order, and a pixel's fraction is what is left of its coordinate.
  const float* r = view.rotation;
  const float* t = view.translation;
  for (int l = 0; l < kLanes; ++l) {
    double x = raw[0][l], y = raw[1][l], z = raw[2][l];
    p.x[l] = double(r[0]) * x + double(r[1]) * y + double(r[2]) * z + double(t[0]);
    p.y[l] = double(r[3]) * x + double(r[4]) * y + double(r[5]) * z + double(t[1]);
    p.z[l] = double(r[6]) * x + double(r[7]) * y + double(r[8]) * z + double(t[2]);
    o.x[l] = float(p.x[l]), o.y[l] = float(p.y[l]), o.z[l] = float(p.z[l]);
  }
  for (int k = 0; k < 3; ++k) o.mean[k] = load(raw[k]), o.scale[k] = load(raw[7 + k]);
  vfloat w = load(raw[3]), x = load(raw[4]), y = load(raw[5]), z = load(raw[6]);
  o.norm = sqrt(w * w + x * x + y * y + z * z);
  vfloat inverse_norm = splat(1.0f) / o.norm;
  w *= inverse_norm, x *= inverse_norm, y *= inverse_norm, z *= inverse_norm;
  o.q[0] = w, o.q[1] = x, o.q[2] = y, o.q[3] = z;
  const vfloat one = splat(1.0f), two = splat(2.0f);
  vfloat(&q)[3][3] = o.rotation;
  q[0][0] = one - two * (y * y + z * z), q[0][1] = two * (x * y - w * z), q[0][2] = two * (x * z + w * y);
  q[1][0] = two * (x * y + w * z), q[1][1] = one - two * (x * x + z * z), q[1][2] = two * (y * z - w * x);
  q[2][0] = two * (x * z - w * y), q[2][1] = two * (y * z + w * x), q[2][2] = one - two * (x * x + y * y);
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k)
      o.axes[i][k] = splat(r[3 * i]) * q[0][k] + splat(r[3 * i + 1]) * q[1][k] + splat(r[3 * i + 2]) * q[2][k];

  vfloat rz = one / o.z;
  vfloat sx = o.x * rz, sy = o.y * rz;
  o.slope_x = min(max(sx, splat(lens.x_low)), splat(lens.x_high));
  o.slope_y = min(max(sy, splat(lens.y_low)), splat(lens.y_high));
  o.x_clamped = o.slope_x != sx, o.y_clamped = o.slope_y != sy;
  o.jx = splat(float(view.fx)) * rz, o.jy = splat(float(view.fy)) * rz;
  o.jxz = -o.jx * o.slope_x, o.jyz = -o.jy * o.slope_y;
  for (int k = 0; k < 3; ++k) {
    o.m1[k] = (o.jx * o.axes[0][k] + o.jxz * o.axes[2][k]) * o.scale[k];
    o.m2[k] = (o.jy * o.axes[1][k] + o.jyz * o.axes[2][k]) * o.scale[k];
  }
  vfloat n1 = o.m1[0] * o.m1[0] + o.m1[1] * o.m1[1] + o.m1[2] * o.m1[2];
  vfloat n2 = o.m2[0] * o.m2[0] + o.m2[1] * o.m2[1] + o.m2[2] * o.m2[2];
  vfloat k0 = o.m1[1] * o.m2[2] - o.m1[2] * o.m2[1], k1 = o.m1[2] * o.m2[0] - o.m1[0] * o.m2[2];
  vfloat k2 = o.m1[0] * o.m2[1] - o.m1[1] * o.m2[0];
  o.cxx = n1 + splat(kBlur), o.cyy = n2 + splat(kBlur);
  o.cxy = o.m1[0] * o.m2[0] + o.m1[1] * o.m2[1] + o.m1[2] * o.m2[2];
  o.det = k0 * k0 + k1 * k1 + k2 * k2 + splat(kBlur) * (n1 + n2) + splat(kBlur * kBlur);
}

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
    vfloat low[kLanes] = {from_bits(load(x_whole)), from_bits(load(y_whole)), load(x_fractions), load(y_fractions),
                          a, b, c, log2_opacity};
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

namespace {

// The sum of vector v of a Gaussian's pair records.
vfloat sum_pairs(const ProjectionGradients& out, int64_t i, int v) {
  const int64_t first = out.first_slot[i], last = out.first_slot[i + 1];
  vfloat s = splat(0.0f);
  for (int64_t slot = first; slot < last; ++slot) s += load(out.pairs + slot * out.stride + v * kLanes);
  return s;
}

// The sums of a Gaussian's channel gradients, to where each channel belongs; returns depth's.
float sum_channels(const ProjectionGradients& out, int64_t i) {
  const int num_features = out.channels.num_features, count = out.channels.count();
  const int depth_at = out.channels.depth ? out.channels.depth_at() : -1;
  float depth = 0.0f;
  for (int base = 0; base < count; base += kLanes) {
    vfloat s = sum_pairs(out, i, 1 + base / kLanes);
    for (int l = 0; l < kLanes && base + l < count; ++l) {
      const int channel = base + l;
      if (channel < num_features) {
        if (out.features) out.features[num_features * i + channel] = s[l];
      } else if (channel == depth_at) {
        depth = s[l];
      } else if (out.colors) {
        out.colors[3 * i + channel - num_features] = s[l];
      }
    }
  }
  return depth;
}

void store3(float* out, int64_t i, int l, const vfloat* v) {
  for (int k = 0; k < 3; ++k) out[3 * i + k] = v[k][l];
}

}  // namespace

void project_backward(const Projection& job, const ProjectionGradients& out, int64_t begin, int64_t end, double* camera) {
  const View& view = job.view;
  const Lens lens = lens_of(view);
  const float* r = view.rotation;
  const int num_features = out.channels.num_features;
  vfloat camera_sum[12];
  for (auto& s : camera_sum) s = splat(0.0f);

  int64_t index[kLanes];
  int filled = 0;
  float lane_geometry[7][kLanes];  // the record's six sums, then the gradient of depth

  auto flush = [&]() {
    for (int l = filled; l < kLanes; ++l) {
      index[l] = index[0];
      for (auto& row : lane_geometry) row[l] = 0.0f;
    }
    Lanes g;
    CameraPoints p;
    load_lanes(view, lens, job.gaussians, index, g, p);
    const vfloat one = splat(1.0f), two = splat(2.0f);
    vfloat inverse_det = one / g.det;
    vfloat a = sqrt(g.cyy * inverse_det), c = one / sqrt(g.cyy), b = -g.cxy * inverse_det / a;
    // The records hold sums of s = alpha dL/dalpha times whitened coordinates, scaled by kWhiten.
    const float k1 = 1.0f / kWhiten, k2 = 0.5f * k1 * k1;
    vfloat su = load(lane_geometry[1]) * splat(k1), sv = load(lane_geometry[2]) * splat(k1);
    vfloat suu = load(lane_geometry[3]) * splat(k2), suv = load(lane_geometry[4]) * splat(k2);
    vfloat svv = load(lane_geometry[5]) * splat(k2);
    vfloat v_px = a * su, v_py = b * su + c * sv;  // gradient of the projected mean: L^T (su, sv)
    // Gradient of the covariance: L^T [suu suv; suv svv] L with L = [a b; 0 c].
    vfloat v_xx = a * a * suu, v_xy = a * (suu * b + suv * c);
    vfloat v_yy = b * b * suu + two * b * c * suv + c * c * svv;

    vfloat v_m1[3], v_m2[3], v_scale[3], v_axes[3][3];
    vfloat v_jx = splat(0.0f), v_jxz = v_jx, v_jy = v_jx, v_jyz = v_jx;
    for (int k = 0; k < 3; ++k) {
      v_m1[k] = two * (v_xx * g.m1[k] + v_xy * g.m2[k]);
      v_m2[k] = two * (v_xy * g.m1[k] + v_yy * g.m2[k]);
      v_scale[k] = v_m1[k] * (g.jx * g.axes[0][k] + g.jxz * g.axes[2][k]) +
                   v_m2[k] * (g.jy * g.axes[1][k] + g.jyz * g.axes[2][k]);
      vfloat s1 = v_m1[k] * g.scale[k], s2 = v_m2[k] * g.scale[k];
      v_jx += s1 * g.axes[0][k], v_jxz += s1 * g.axes[2][k];
      v_jy += s2 * g.axes[1][k], v_jyz += s2 * g.axes[2][k];
      v_axes[0][k] = s1 * g.jx, v_axes[1][k] = s2 * g.jy, v_axes[2][k] = s1 * g.jxz + s2 * g.jyz;
    }
    // Camera point. Where x/z is clamped, jxz = -fx limit / z depends on z alone.
    vfloat rz = one / g.z;
    vfloat v_cam[3];
    v_cam[0] = g.jx * v_px;
    v_cam[1] = g.jy * v_py;
    v_cam[2] = -(g.x * rz * v_cam[0] + g.y * rz * v_cam[1]) + load(lane_geometry[6]);
    v_cam[0] -= only_where(~g.x_clamped, g.jx * rz * v_jxz);
    v_cam[1] -= only_where(~g.y_clamped, g.jy * rz * v_jyz);
    v_cam[2] -= rz * (g.jx * v_jx + g.jy * v_jy);
    v_cam[2] -= rz * (g.jxz * v_jxz * select(g.x_clamped, one, two) + g.jyz * v_jyz * select(g.y_clamped, one, two));

    if (camera) {
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
          vfloat s = v_cam[i] * g.mean[j];
          for (int k = 0; k < 3; ++k) s += v_axes[i][k] * g.rotation[j][k];
          camera_sum[3 * i + j] += s;
        }
        camera_sum[9 + i] += v_cam[i];
      }
      // Lanes beyond `filled` hold zero gradients and add nothing.
    }
    vfloat v_mean[3], v_rotation[3][3];
    for (int j = 0; j < 3; ++j) {
      v_mean[j] = splat(r[j]) * v_cam[0] + splat(r[3 + j]) * v_cam[1] + splat(r[6 + j]) * v_cam[2];
      for (int k = 0; k < 3; ++k)
        v_rotation[j][k] =
            splat(r[j]) * v_axes[0][k] + splat(r[3 + j]) * v_axes[1][k] + splat(r[6 + j]) * v_axes[2][k];
    }
    const vfloat w = g.q[0], x = g.q[1], y = g.q[2], z = g.q[3];
    auto& v = v_rotation;
    vfloat v_q[4];
    v_q[0] = two * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1]));
    v_q[1] = two * (w * (v[2][1] - v[1][2]) + y * (v[0][1] + v[1][0]) + z * (v[0][2] + v[2][0]) -
                    two * x * (v[1][1] + v[2][2]));
    v_q[2] = two * (w * (v[0][2] - v[2][0]) + x * (v[0][1] + v[1][0]) + z * (v[1][2] + v[2][1]) -
                    two * y * (v[0][0] + v[2][2]));
    v_q[3] = two * (w * (v[1][0] - v[0][1]) + x * (v[0][2] + v[2][0]) + y * (v[1][2] + v[2][1]) -
                    two * z * (v[0][0] + v[1][1]));
    vfloat along = v_q[0] * w + v_q[1] * x + v_q[2] * y + v_q[3] * z;
    vfloat inverse_norm = one / g.norm;
    for (int k = 0; k < 4; ++k) v_q[k] = (v_q[k] - g.q[k] * along) * inverse_norm;

    for (int l = 0; l < filled; ++l) {
      const int64_t i = index[l];
      if (out.means) store3(out.means, i, l, v_mean);
      if (out.scales) store3(out.scales, i, l, v_scale);
      if (out.quats)
        for (int k = 0; k < 4; ++k) out.quats[4 * i + k] = v_q[k][l];
      if (out.opacities) out.opacities[i] = lane_geometry[0][l] / job.gaussians.opacities[i];
      if (out.means2d) out.means2d[2 * i] = v_px[l], out.means2d[2 * i + 1] = v_py[l];
    }
    filled = 0;
  };

  for (int64_t i = begin; i < end; ++i) {
    if (out.first_slot[i] == out.first_slot[i + 1]) {
      for (int k = 0; k < 3; ++k) {
        if (out.means) out.means[3 * i + k] = 0.0f;
        if (out.scales) out.scales[3 * i + k] = 0.0f;
        if (out.colors) out.colors[3 * i + k] = 0.0f;
      }
      if (out.quats) std::memset(out.quats + 4 * i, 0, 4 * sizeof(float));
      if (out.opacities) out.opacities[i] = 0.0f;
      if (out.features) std::memset(out.features + num_features * i, 0, num_features * sizeof(float));
      if (out.means2d) out.means2d[2 * i] = out.means2d[2 * i + 1] = 0.0f;
      continue;
    }
    vfloat geometry = sum_pairs(out, i, 0);
    for (int k = 0; k < 6; ++k) lane_geometry[k][filled] = geometry[k];
    lane_geometry[6][filled] = sum_channels(out, i);
    index[filled++] = i;
    if (filled == kLanes) flush();
  }
  if (filled) flush();
  if (camera)
    for (int k = 0; k < 12; ++k) camera[k] = double(sum(camera_sum[k]));
}

}  // namespace cgc::CGC_ISA
