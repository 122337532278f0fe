// L1 and SSIM (11 x 11 Gaussian window of sigma 1.5, zero padding) of interleaved images, with the gradient.
// Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, equation 13.
//
// SSIM needs the window's means of x, y, x^2 + y^2 and x y only. Rows are filtered along x into a ring of eleven, then
// along y; channels stay interleaved, taps being three floats apart.
#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int kTaps = 11, kHalf = 5;
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;
constexpr int kMaps = 4;

struct Window {
  float taps[kTaps];
  Window() {
    double sum = 0, w[kTaps];
    for (int k = 0; k < kTaps; ++k) sum += w[k] = __builtin_exp(-(k - kHalf) * (k - kHalf) / (2 * 1.5 * 1.5));
    for (int k = 0; k < kTaps; ++k) taps[k] = float(w[k] / sum);
  }
};

int padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Scratch: `maps` padded input rows, then rings of `maps` x 11 filtered rows; all rows zeroed once.
struct Rows {
  int n, length, border;  // 3 W; a row's floats with room for vectors; 15 zeros on each side of an input row
  float* input;
  float* ring;
  Rows(int width, int maps, GrowingBuffer& scratch) : n(3 * width), length(padded(3 * width)), border(3 * kHalf) {
    const size_t floats = size_t(maps) * (length + 2 * border + kLanes) + size_t(maps) * kTaps * length;
    if (scratch.capacity < floats * sizeof(float)) scratch.grow(floats * sizeof(float));
    input = static_cast<float*>(scratch.data);
    ring = input + size_t(maps) * (length + 2 * border + kLanes);
    std::memset(input, 0, floats * sizeof(float));
  }
  float* input_row(int map) { return input + size_t(map) * (length + 2 * border + kLanes) + border; }
  float* ring_row(int map, int y) { return ring + (size_t(map) * kTaps + (y + kTaps) % kTaps) * length; }

  void filter_along_x(const Window& window, int map, int y) {
    const float* in = input_row(map) - border;
    float* out = ring_row(map, y);
    for (int i = 0; i < n; i += kLanes) {
      vfloat s = splat(window.taps[kHalf]) * load(in + i + border);
      for (int k = 0; k < kHalf; ++k)
        s += splat(window.taps[k]) * (load(in + i + 3 * k) + load(in + i + 3 * (kTaps - 1 - k)));
      store(out + i, s);
    }
  }
  void clear(int map, int y) { std::memset(ring_row(map, y), 0, sizeof(float) * length); }
  vfloat along_y(const Window& window, int map, int y, int i) {
    vfloat s = splat(window.taps[kHalf]) * load(ring_row(map, y) + i);
    for (int k = 0; k < kHalf; ++k)
      s += splat(window.taps[k]) * (load(ring_row(map, y + k - kHalf) + i) + load(ring_row(map, y + kHalf - k) + i));
    return s;
  }
};

// x and y of image row `row` into input rows, masked.
void load_pair(const SsimImages& job, int row, float* x, float* y) {
  const size_t at = size_t(row) * job.width * 3;
  std::memcpy(x, job.rendered + at, sizeof(float) * 3 * job.width);
  std::memcpy(y, job.target + at, sizeof(float) * 3 * job.width);
  if (!job.mask) return;
  for (int i = 0; i < job.width; ++i) {
    if (job.mask[size_t(row) * job.width + i]) continue;
    for (int k = 0; k < 3; ++k) x[3 * i + k] = y[3 * i + k] = 0.0f;
  }
}

}  // namespace

void ssim_rows(const SsimImages& job, int begin, int end, GrowingBuffer& scratch, double* sums) {
  static const Window window;
  Rows rows(job.width, kMaps, scratch);
  const int n = rows.n;
  const size_t plane = size_t(job.height) * n;
  double ssim_sum = 0, l1_sum = 0;
  for (int enter = begin - kHalf; enter < end + kHalf; ++enter) {
    if (enter >= 0 && enter < job.height) {
      float *x = rows.input_row(0), *y = rows.input_row(1), *squares = rows.input_row(2), *product = rows.input_row(3);
      load_pair(job, enter, x, y);
      float l1 = 0;
      for (int i = 0; i < n; ++i) {
        squares[i] = x[i] * x[i] + y[i] * y[i];
        product[i] = x[i] * y[i];
      }
      if (enter >= begin && enter < end) {
        for (int i = 0; i < n; ++i) l1 += __builtin_fabsf(x[i] - y[i]);
        l1_sum += l1;
      }
      for (int map = 0; map < kMaps; ++map) rows.filter_along_x(window, map, enter);
    } else {
      for (int map = 0; map < kMaps; ++map) rows.clear(map, enter);
    }
    const int y = enter - kHalf;
    if (y < begin) continue;
    float row_sum = 0;
    float* d_mean = job.derivatives + size_t(y) * n;
    for (int i = 0; i < n; i += kLanes) {
      vfloat mx = rows.along_y(window, 0, y, i), my = rows.along_y(window, 1, y, i);
      vfloat squares = rows.along_y(window, 2, y, i), product = rows.along_y(window, 3, y, i);
      const vfloat two = splat(2.0f);
      vfloat mxy = mx * my, mm = mx * mx + my * my;
      vfloat a1 = two * mxy + splat(kC1), a2 = two * (product - mxy) + splat(kC2);
      vfloat b1 = mm + splat(kC1), b2 = squares - mm + splat(kC2);
      vfloat inverse = splat(1.0f) / (b1 * b2);
      vfloat ssim = a1 * a2 * inverse;
      vfloat by_mean = two * my * (a2 - a1) * inverse - two * mx * ssim * (b2 - b1) * inverse;
      vfloat by_squares = -ssim * b1 * inverse, by_product = two * a1 * inverse;
      float values[4][kLanes];
      store(values[0], ssim), store(values[1], by_mean), store(values[2], by_squares), store(values[3], by_product);
      for (int l = 0; l < kLanes && i + l < n; ++l) {
        const bool counts = !job.mask || job.mask[size_t(y) * job.width + (i + l) / 3];
        if (counts) row_sum += values[0][l];
        for (int map = 0; map < 3; ++map) d_mean[map * plane + i + l] = counts ? values[1 + map][l] : 0.0f;
      }
    }
    ssim_sum += row_sum;
  }
  sums[0] = ssim_sum, sums[1] = l1_sum;
}

void ssim_gradient_rows(const SsimImages& job, int begin, int end, GrowingBuffer& scratch) {
  static const Window window;
  Rows rows(job.width, 3, scratch);
  const int n = rows.n;
  const size_t plane = size_t(job.height) * n;
  for (int enter = begin - kHalf; enter < end + kHalf; ++enter) {
    for (int map = 0; map < 3; ++map) {
      if (enter >= 0 && enter < job.height) {
        std::memcpy(rows.input_row(map), job.derivatives + map * plane + size_t(enter) * n, sizeof(float) * n);
        rows.filter_along_x(window, map, enter);
      } else {
        rows.clear(map, enter);
      }
    }
    const int y = enter - kHalf;
    if (y < begin) continue;
    const size_t at = size_t(y) * n;
    for (int i = 0; i < n; i += kLanes) {
      vfloat by_mean = rows.along_y(window, 0, y, i), by_squares = rows.along_y(window, 1, y, i);
      vfloat by_product = rows.along_y(window, 2, y, i);
      float means[kLanes], squares[kLanes], products[kLanes];
      store(means, by_mean), store(squares, by_squares), store(products, by_product);
      for (int l = 0; l < kLanes && i + l < n; ++l) {
        const bool counts = !job.mask || job.mask[size_t(y) * job.width + (i + l) / 3];
        const float x = job.rendered[at + i + l], t = job.target[at + i + l];
        const float ssim = means[l] + 2.0f * x * squares[l] + t * products[l];
        const float sign = x > t ? 1.0f : x < t ? -1.0f : 0.0f;
        job.gradient[at + i + l] = counts ? job.l1_scale * sign + job.ssim_scale * ssim : 0.0f;
      }
    }
  }
}

}  // namespace cgc::CGC_ISA
