// Real spherical harmonics up to degree 3 as 3D Gaussian Splatting uses them: colour = max(0, 0.5 + sum of c_k Y_k(d)),
// d the unit vector from the camera to the Gaussian. Constants: Sloan, "Efficient Spherical Harmonic Evaluation", 2013.
#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int kMaxTerms = 16;

struct Directions {
  vfloat x, y, z;
  vfloat inverse_length;
};

Directions load_directions(const Harmonics& job, const int64_t* index) {
  float raw[3][kLanes];
  for (int l = 0; l < kLanes; ++l)
    for (int k = 0; k < 3; ++k) raw[k][l] = job.means[3 * index[l] + k] - job.camera_position[k];
  vfloat x = load(raw[0]), y = load(raw[1]), z = load(raw[2]);
  vfloat n = x * x + y * y + z * z;
  vfloat inverse = splat(1.0f) / sqrt(max(n, splat(1e-30f)));
  return {x * inverse, y * inverse, z * inverse, inverse};
}

void basis(int degree, const Directions& d, vfloat* b) {
  b[0] = splat(0.2820947917738781f);
  if (degree < 1) return;
  const vfloat x = d.x, y = d.y, z = d.z;
  const vfloat c1 = splat(0.48860251190292f);
  b[1] = -c1 * y, b[2] = c1 * z, b[3] = -c1 * x;
  if (degree < 2) return;
  const vfloat z2 = z * z, x2y2 = x * x - y * y, xy2 = splat(2.0f) * x * y;
  const vfloat a = splat(-1.092548430592079f) * z;
  b[4] = splat(0.5462742152960395f) * xy2, b[5] = a * y;
  b[6] = splat(0.9461746957575601f) * z2 - splat(0.3153915652525201f);
  b[7] = a * x, b[8] = splat(0.5462742152960395f) * x2y2;
  if (degree < 3) return;
  const vfloat e = splat(-2.285228997322329f) * z2 + splat(0.4570457994644658f), f = splat(1.445305721320277f) * z;
  b[9] = splat(-0.5900435899266435f) * (x * xy2 + y * x2y2), b[10] = f * xy2, b[11] = e * y;
  b[12] = z * (splat(1.865881662950577f) * z2 - splat(1.119528997770346f));
  b[13] = e * x, b[14] = f * x2y2, b[15] = splat(-0.5900435899266435f) * (x * x2y2 - y * xy2);
}

// Derivatives of sum of w_k Y_k by x, y, z, without the unit length.
void basis_gradient(int degree, const Directions& d, const vfloat* w, vfloat& gx, vfloat& gy, vfloat& gz) {
  const vfloat c1 = splat(0.48860251190292f);
  gx = -c1 * w[3], gy = -c1 * w[1], gz = c1 * w[2];
  if (degree < 2) return;
  const vfloat x = d.x, y = d.y, z = d.z;
  const vfloat c4 = splat(2 * 0.5462742152960395f), c5 = splat(-1.092548430592079f);
  gx += c4 * (y * w[4] + x * w[8]) + c5 * z * w[7];
  gy += c4 * (x * w[4] - y * w[8]) + c5 * z * w[5];
  gz += c5 * (y * w[5] + x * w[7]) + splat(2 * 0.9461746957575601f) * z * w[6];
  if (degree < 3) return;
  const vfloat z2 = z * z, x2y2 = x * x - y * y, xy2 = splat(2.0f) * x * y;
  const vfloat c9 = splat(-0.5900435899266435f * 3), c10 = splat(1.445305721320277f), two = splat(2.0f);
  const vfloat e = splat(-2.285228997322329f) * z2 + splat(0.4570457994644658f), ez = splat(-4.570457994644658f) * z;
  gx += c9 * (xy2 * w[9] + x2y2 * w[15]) + c10 * z * two * (y * w[10] + x * w[14]) + e * w[13];
  gy += c9 * (x2y2 * w[9] - xy2 * w[15]) + c10 * z * two * (x * w[10] - y * w[14]) + e * w[11];
  gz += c10 * (xy2 * w[10] + x2y2 * w[14]) + ez * (y * w[11] + x * w[13]) +
        (splat(3 * 1.865881662950577f) * z2 - splat(1.119528997770346f)) * w[12];
}

// Calls work(index[8], how many) for the visible Gaussians of [begin, end).
template <class Work>
void for_visible(const Harmonics& job, int64_t begin, int64_t end, Work work) {
  int64_t index[kLanes];
  int n = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (job.radii[i] <= 0) continue;
    index[n++] = i;
    if (n == kLanes) work(index, n), n = 0;
  }
  if (!n) return;
  for (int l = n; l < kLanes; ++l) index[l] = index[0];
  work(index, n);
}

}  // namespace

void harmonics(const Harmonics& job, int64_t begin, int64_t end, Splat* splats) {
  const int terms = (job.degree + 1) * (job.degree + 1);
  for_visible(job, begin, end, [&](const int64_t* index, int n) {
    vfloat b[kMaxTerms];
    basis(job.degree, load_directions(job, index), b);
    for (int l = 0; l < n; ++l) {
      const float* c = job.coefficients + index[l] * job.num_coefficients * 3;
      float r = 0.5f, g = 0.5f, blue = 0.5f;
      for (int k = 0; k < terms; ++k) {
        const float weight = b[k][l];
        r += weight * c[3 * k], g += weight * c[3 * k + 1], blue += weight * c[3 * k + 2];
      }
      float* out = splats[index[l]].color;
      out[0] = r > 0 ? r : 0, out[1] = g > 0 ? g : 0, out[2] = blue > 0 ? blue : 0;
    }
  });
}

void harmonics_backward(const Harmonics& job, int64_t begin, int64_t end, const Splat* splats,
                        const float* color_gradients, float* coefficient_gradients, float* direction_gradients,
                        double* camera_position) {
  const int terms = (job.degree + 1) * (job.degree + 1), row = 3 * job.num_coefficients;
  double position[3] = {0, 0, 0};
  for (int64_t i = begin; i < end; ++i) {
    if (coefficient_gradients && job.radii[i] <= 0)
      std::memset(coefficient_gradients + i * row, 0, row * sizeof(float));
    if (direction_gradients && job.radii[i] <= 0) std::memset(direction_gradients + 3 * i, 0, 3 * sizeof(float));
  }
  for_visible(job, begin, end, [&](const int64_t* index, int n) {
    const Directions d = load_directions(job, index);
    vfloat b[kMaxTerms], w[kMaxTerms];
    basis(job.degree, d, b);
    for (int k = 0; k < terms; ++k) w[k] = splat(0.0f);
    for (int l = 0; l < n; ++l) {
      const int64_t i = index[l];
      float v[3];
      for (int k = 0; k < 3; ++k) v[k] = splats[i].color[k] > 0 ? color_gradients[3 * i + k] : 0.0f;
      if (coefficient_gradients) {
        float* out = coefficient_gradients + i * row;
        for (int k = 0; k < terms; ++k)
          for (int j = 0; j < 3; ++j) out[3 * k + j] = b[k][l] * v[j];
        for (int k = 3 * terms; k < row; ++k) out[k] = 0.0f;
      }
      if (direction_gradients) {
        const float* c = job.coefficients + i * row;
        for (int k = 0; k < terms; ++k) w[k][l] = c[3 * k] * v[0] + c[3 * k + 1] * v[1] + c[3 * k + 2] * v[2];
      }
    }
    if (!direction_gradients) return;
    vfloat gx = splat(0.0f), gy = gx, gz = gx;
    if (job.degree > 0) basis_gradient(job.degree, d, w, gx, gy, gz);
    vfloat along = gx * d.x + gy * d.y + gz * d.z;  // only the part across the direction moves it
    gx = (gx - along * d.x) * d.inverse_length;
    gy = (gy - along * d.y) * d.inverse_length;
    gz = (gz - along * d.z) * d.inverse_length;
    for (int l = 0; l < n; ++l) {
      float* out = direction_gradients + 3 * index[l];
      out[0] = gx[l], out[1] = gy[l], out[2] = gz[l];
      for (int k = 0; k < 3; ++k) position[k] -= double(out[k]);
    }
  });
  if (camera_position)
    for (int k = 0; k < 3; ++k) camera_position[k] = position[k];
}

}  // namespace cgc::CGC_ISA
