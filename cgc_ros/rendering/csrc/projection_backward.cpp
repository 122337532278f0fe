// Gradients of the screen's ellipses back to the Gaussians and the camera.
#include "kernels.h"
#include "projection.h"

namespace cgc::CGC_ISA {
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

void project_backward(const Projection& job, const ProjectionGradients& out, int64_t begin, int64_t end,
                      double* camera) {
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
        v_rotation[j][k] = splat(r[j]) * v_axes[0][k] + splat(r[3 + j]) * v_axes[1][k] + splat(r[6 + j]) * v_axes[2][k];
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
