// One Adam update (Kingma and Ba 2015, without bias correction) of the rows of a parameter.
#include <cmath>

#include "kernels.h"
#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

void update(const AdamRows& a, int64_t at, int64_t count) {
  for (int64_t i = at; i < at + count; ++i) {
    const float g = a.gradient[i];
    const float m = a.first[i] += (1 - a.beta1) * (g - a.first[i]);
    const float v = a.second[i] = a.beta2 * a.second[i] + (1 - a.beta2) * g * g;
    a.parameter[i] -= a.rate * m / (std::sqrt(v) + a.epsilon);
  }
}

bool moves(const AdamRows& a, int64_t row) {
  if (a.moving && !a.moving[row]) return false;
  if (!a.touched_only) return true;
  const float* gradient = a.gradient + row * a.width;
  bool touched = false;
  for (int64_t k = 0; k < a.width; ++k) touched |= gradient[k] != 0.0f;
  return touched;
}

}  // namespace

void adam_rows(const AdamRows& a, int64_t begin, int64_t end) {
  if (!a.moving && !a.touched_only) return update(a, begin * a.width, (end - begin) * a.width);
  for (int64_t row = begin; row < end;) {  // runs of moving rows, so that narrow parameters vectorise as well
    if (!moves(a, row)) {
      ++row;
      continue;
    }
    int64_t stop = row + 1;
    while (stop < end && moves(a, stop)) ++stop;
    update(a, row * a.width, (stop - row) * a.width);
    row = stop;
  }
}

}  // namespace cgc::CGC_ISA
