// What training does to rows of Gaussians: natural units before a render, and Adam's update after its gradients.
#include "adam.h"
#include "kernels.h"

namespace cgc::CGC_ISA {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr float kMaxExponent = 126.0f;

inline vfloat exp(vfloat x) {
  const vfloat e = exp2(min(max(x * splat(kLog2E), splat(-kMaxExponent)), splat(kMaxExponent)));
  return select(x == x, e, x);  // what is not a number stays so, and is then left out of the render
}
inline vfloat sigmoid(vfloat x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

// out[i] = f(in[i]), eight at a time.
template <class Function>
void map(const float* in, float* out, int64_t count, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, f(load(in + i)));
  if (i == count) return;
  float rest[kLanes] = {};
  std::memcpy(rest, in + i, sizeof(float) * (count - i));
  store(rest, f(load(rest)));
  std::memcpy(out + i, rest, sizeof(float) * (count - i));
}

// One parameter of a chunk; `moves` is -1 or 0 for each of its rows, `units` what each one's rate is times.
template <int kWidth, bool kUnits = false>
void update(const TrainedRows& rows, const TrainingUpdate& job, const float* gradient, const int32_t* moves,
            int64_t begin, int64_t count, const float* units = nullptr) {
  Adam<vfloat> adam{splat(1 - job.beta1), splat(1 - job.beta2), splat(rows.rate), splat(job.epsilon)};
  float* value = rows.value + begin * kWidth;
  float* first = rows.first + begin * kWidth;
  float* second = rows.second + begin * kWidth;
  int64_t row = 0;
  for (; row + kLanes <= count; row += kLanes) {  // kWidth vectors hold eight rows
    int32_t mask[kWidth * kLanes];
    float rates[kUnits ? kWidth * kLanes : 1];
    for (int l = 0; l < kLanes; ++l)
      for (int k = 0; k < kWidth; ++k) {
        mask[l * kWidth + k] = moves[row + l];
        if (kUnits) rates[l * kWidth + k] = rows.rate * units[row + l];
      }
    for (int k = 0; k < kWidth; ++k) {
      const int64_t at = row * kWidth + k * kLanes;
      const vint moving = load(mask + k * kLanes);
      if (!lane_bits(moving)) continue;
      const vfloat old_value = load(value + at), old_first = load(first + at), old_second = load(second + at);
      vfloat new_value = old_value, new_first = old_first, new_second = old_second;
      if (kUnits) adam.rate = load(rates + k * kLanes);
      adam.step(load(gradient + at), new_value, new_first, new_second);
      store(value + at, select(moving, new_value, old_value));
      store(first + at, select(moving, new_first, old_first));
      store(second + at, select(moving, new_second, old_second));
    }
  }
  for (; row < count; ++row) {
    if (!moves[row]) continue;
    if (kUnits) adam.rate = splat(rows.rate * units[row]);
    for (int64_t at = row * kWidth; at < (row + 1) * kWidth; ++at) {
      vfloat p = splat(value[at]), m = splat(first[at]), v = splat(second[at]);
      adam.step(splat(gradient[at]), p, m, v);
      value[at] = p[0], first[at] = m[0], second[at] = v[0];
    }
  }
}

// Geometric mean of the two longer axes: a flat Gaussian's thickness says nothing of how far it may move.
inline float size_of(const float* scales) {
  const float a = scales[0], b = scales[1], c = scales[2];
  const float ab = a * b, bc = b * c, ca = c * a, larger = ab > bc ? ab : bc;
  return __builtin_sqrtf(larger > ca ? larger : ca);
}

}  // namespace

void activate_rows(const Activation& job, int64_t begin, int64_t end) {
  map(job.log_scales + 3 * begin, job.scales + 3 * begin, 3 * (end - begin), [](vfloat x) { return exp(x); });
  map(job.logit_opacities + begin, job.opacities + begin, end - begin, [](vfloat x) { return sigmoid(x); });
}

void update_rows(const TrainingUpdate& job, const ChunkGradients& gradients, int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  alignas(32) int32_t moves[kChunk];
  for (int64_t i = 0; i < count; ++i)
    moves[i] = -int32_t(job.radii[begin + i] > 0 && !(job.touched_only && gradients.opacities[i] == 0.0f));

  if (gradients.directions)
    for (int64_t i = 0; i < 3 * count; ++i) gradients.means[i] += gradients.directions[i];
  for (int64_t i = 0; i < 3 * count; ++i) gradients.scales[i] *= job.scales[3 * begin + i];
  for (int64_t i = 0; i < count; ++i) {
    const float opacity = job.opacities[begin + i];
    gradients.opacities[i] = (gradients.opacities[i] + job.opacity_pull) * opacity * (1.0f - opacity);
    const float* log_scales = job.log_scales.value + 3 * (begin + i);
    int longest = 0, middle = 1;
    if (log_scales[1] > log_scales[0]) longest = 1, middle = 0;
    if (log_scales[2] > log_scales[longest]) {
      middle = longest, longest = 2;
    } else if (log_scales[2] > log_scales[middle]) {
      middle = 2;
    }
    if (log_scales[longest] - log_scales[middle] > job.max_log_ratio) {
      gradients.scales[3 * i + longest] += job.needle_pull;
      gradients.scales[3 * i + middle] -= job.needle_pull;
    }
  }
  float sizes[kChunk];
  for (int64_t i = 0; i < count; ++i) sizes[i] = size_of(job.scales + 3 * (begin + i));
  update<3, true>(job.means, job, gradients.means, moves, begin, count, sizes);
  update<4>(job.quats, job, gradients.quats, moves, begin, count);
  update<3>(job.log_scales, job, gradients.scales, moves, begin, count);
  update<1>(job.logit_opacities, job, gradients.opacities, moves, begin, count);
  switch (job.harmonics.width) {
    case 3: update<3>(job.harmonics, job, gradients.harmonics, moves, begin, count); break;
    case 12: update<12>(job.harmonics, job, gradients.harmonics, moves, begin, count); break;
    case 27: update<27>(job.harmonics, job, gradients.harmonics, moves, begin, count); break;
    case 48: update<48>(job.harmonics, job, gradients.harmonics, moves, begin, count); break;
  }
}

}  // namespace cgc::CGC_ISA
