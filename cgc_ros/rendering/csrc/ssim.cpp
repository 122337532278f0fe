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

// Zeros in rows of interleaved values where a row of the mask has gaps; whether it has any.
template <class... Values>
bool clear_gaps(const uint8_t* mask, int width, Values*... values) {
  const uint8_t *end = mask + width, *at = mask;
  bool any = false;
  while ((at = static_cast<const uint8_t*>(std::memchr(at, 0, size_t(end - at))))) {
    const uint8_t* begin = at;
    while (at < end && !*at) ++at;
    (std::memset(values + 3 * (begin - mask), 0, sizeof(float) * 3 * size_t(at - begin)), ...);
    any = true;
    if (at == end) break;
  }
  return any;
}

// Scratch: `maps` padded input rows, a row of what counts, then rings of `maps` x 11 filtered rows. All rows have room
// for whole vectors and start as zeros.
struct Rows {
  bool all_count;  // counts are those of a row without a gap
  int n, length, border, input_length;  // 3 W; room for it; 15 zeros on each side of an input row
  float* input;
  float* counts;  // 1 where a value counts, 0 where the mask or the image ends
  float* ring;

  Rows(int width, int maps, GrowingBuffer& scratch)
      : n(3 * width), length(padded(3 * width)), border(3 * kHalf), input_length(length + 2 * border + kLanes) {
    const size_t floats = size_t(maps) * input_length + length + size_t(maps) * kTaps * length;
    if (scratch.capacity < floats * sizeof(float)) scratch.grow(floats * sizeof(float));
    input = static_cast<float*>(scratch.data);
    counts = input + size_t(maps) * input_length;
    ring = counts + length;
    std::memset(input, 0, floats * sizeof(float));
    count_all();
  }
  float* input_row(int map) { return input + size_t(map) * input_length + border; }
  float* ring_row(int map, int y) { return ring + (size_t(map) * kTaps + (y + kTaps) % kTaps) * length; }

  void count_all() {
    for (int i = 0; i < n; ++i) counts[i] = 1.0f;
    all_count = true;
  }
  void load_counts(const SsimImages& job, int y) {
    if (!job.mask) return;
    if (!all_count) count_all();
    all_count = !clear_gaps(job.mask + size_t(y) * job.width, job.width, counts);
  }
  void filter_along_x(const Window& window, int map, int y) {
    const float* in = input_row(map) - border;
    float* out = ring_row(map, y);
    for (int i = 0; i < n; i += kLanes) {
      vfloat s = splat(window.taps[kHalf]) * load(in + i + border);
#pragma GCC unroll 5
      for (int k = 0; k < kHalf; ++k)
        s += splat(window.taps[k]) * (load(in + i + 3 * k) + load(in + i + 3 * (kTaps - 1 - k)));
      store(out + i, s);
    }
  }
  void clear(int map, int y) { std::memset(ring_row(map, y), 0, sizeof(float) * length); }
};

// The rows of one map's window about row y.
struct Column {
  const float* rows[kTaps];
  Column(Rows& of, int map, int y) {
    for (int k = 0; k < kTaps; ++k) rows[k] = of.ring_row(map, y + k - kHalf);
  }
  vfloat filtered(const Window& window, int i) const {
    vfloat s = splat(window.taps[kHalf]) * load(rows[kHalf] + i);
#pragma GCC unroll 5
    for (int k = 0; k < kHalf; ++k) s += splat(window.taps[k]) * (load(rows[k] + i) + load(rows[kTaps - 1 - k] + i));
    return s;
  }
};

// The first `count` lanes.
inline void store_some(float* out, vfloat v, int count) {
  if (count >= kLanes) return store(out, v);
  for (int l = 0; l < count; ++l) out[l] = v[l];
}
inline vfloat load_some(const float* in, int count) {
  if (count >= kLanes) return load(in);
  vfloat v = splat(0.0f);
  for (int l = 0; l < count; ++l) v[l] = in[l];
  return v;
}

// x and y of image row `row` into input rows, masked.
void load_pair(const SsimImages& job, int row, float* x, float* y) {
  const size_t at = size_t(row) * job.width * 3;
  std::memcpy(x, job.rendered + at, sizeof(float) * 3 * job.width);
  std::memcpy(y, job.target + at, sizeof(float) * 3 * job.width);
  if (job.mask) clear_gaps(job.mask + size_t(row) * job.width, job.width, x, y);
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
      vfloat l1 = splat(0.0f);
      for (int i = 0; i < n; i += kLanes) {  // beyond the row both are zero
        const vfloat a = load(x + i), b = load(y + i);
        store(squares + i, a * a + b * b), store(product + i, a * b);
        l1 += max(a - b, b - a);
      }
      if (enter >= begin && enter < end) l1_sum += double(sum(l1));
      for (int map = 0; map < kMaps; ++map) rows.filter_along_x(window, map, enter);
    } else {
      for (int map = 0; map < kMaps; ++map) rows.clear(map, enter);
    }
    const int y = enter - kHalf;
    if (y < begin) continue;
    rows.load_counts(job, y);
    const Column mean_x(rows, 0, y), mean_y(rows, 1, y), mean_squares(rows, 2, y), mean_product(rows, 3, y);
    float* derivatives = job.derivatives + size_t(y) * n;
    vfloat row_sum = splat(0.0f);
    for (int i = 0; i < n; i += kLanes) {
      const vfloat mx = mean_x.filtered(window, i), my = mean_y.filtered(window, i);
      const vfloat squares = mean_squares.filtered(window, i), product = mean_product.filtered(window, i);
      const vfloat counts = load(rows.counts + i), two = splat(2.0f);
      vfloat mxy = mx * my, mm = mx * mx + my * my;
      vfloat a1 = two * mxy + splat(kC1), a2 = two * (product - mxy) + splat(kC2);
      vfloat b1 = mm + splat(kC1), b2 = squares - mm + splat(kC2);
      vfloat inverse = counts / (b1 * b2);
      vfloat ssim = a1 * a2 * inverse;
      row_sum += ssim;
      const int left = n - i;
      store_some(derivatives + i, two * my * (a2 - a1) * inverse - two * mx * ssim * (b2 - b1) * inverse, left);
      store_some(derivatives + plane + i, -ssim * b1 * inverse, left);
      store_some(derivatives + 2 * plane + i, two * a1 * inverse, left);
    }
    ssim_sum += double(sum(row_sum));
  }
  sums[0] = ssim_sum, sums[1] = l1_sum;
}

void ssim_gradient_rows(const SsimImages& job, int begin, int end, GrowingBuffer& scratch) {
  static const Window window;
  Rows rows(job.width, 3, scratch);
  const int n = rows.n;
  const size_t plane = size_t(job.height) * n;
  const vfloat ssim_scale = splat(job.ssim_scale), l1_scale = splat(job.l1_scale), zero = splat(0.0f);
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
    rows.load_counts(job, y);
    const Column by_mean(rows, 0, y), by_squares(rows, 1, y), by_product(rows, 2, y);
    const size_t at = size_t(y) * n;
    for (int i = 0; i < n; i += kLanes) {
      const int left = n - i;
      const vfloat x = load_some(job.rendered + at + i, left), t = load_some(job.target + at + i, left);
      const vfloat ssim = by_mean.filtered(window, i) + splat(2.0f) * x * by_squares.filtered(window, i) +
                          t * by_product.filtered(window, i);
      const vfloat l1 = only_where(x > t, l1_scale) - only_where(x < t, l1_scale);
      store_some(job.gradient + at + i, select(load(rows.counts + i) > zero, l1 + ssim_scale * ssim, zero), left);
    }
  }
}

}  // namespace cgc::CGC_ISA
