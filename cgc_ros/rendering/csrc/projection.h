// EWA splatting by gsplat 1.5.3's conventions, eight Gaussians at a time: what the forward and backward pass have in
// common.
//
// With W = camera rotation, Q = the quaternion's rotation, S = scales and J = the projection's Jacobian, the screen
// covariance is M M^T + b I with M = J W Q S (2 x 3) and the view's blur b. Its determinant is |m1 x m2|^2 +
// b (|m1|^2 + |m2|^2) + b^2 (Cauchy-Binet): sums of positive terms, exact where c_xx c_yy - c_xy^2 cancels.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

struct Lens {
  float x_low, x_high, y_low, y_high;  // limits of x/z and y/z in the Jacobian
};

inline Lens lens_of(const View& v) {
  const double margin_x = 0.3 * 0.5 * v.width / v.fx, margin_y = 0.3 * 0.5 * v.height / v.fy;
  return {float(-(v.cx / v.fx + margin_x)), float((v.width - v.cx) / v.fx + margin_x), float(-(v.cy / v.fy + margin_y)),
          float((v.height - v.cy) / v.fy + margin_y)};
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
inline void load_lanes(const View& view, const Lens& lens, const Gaussians& g, const int64_t* index, Lanes& o,
                       CameraPoints& p) {
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
  const vfloat blur = splat(view.blur);
  o.cxx = n1 + blur, o.cyy = n2 + blur;
  o.cxy = o.m1[0] * o.m2[0] + o.m1[1] * o.m2[1] + o.m1[2] * o.m2[2];
  o.det = k0 * k0 + k1 * k1 + k2 * k2 + blur * (n1 + n2) + blur * blur;
}

}  // namespace
}  // namespace cgc::CGC_ISA
