// One Adam update of the rows of a parameter.
#include "adam.h"

#include "kernels.h"

namespace cgc::CGC_ISA {
namespace {

void update(const AdamRows& a, int64_t at, int64_t count) {
  const Adam<float> adam{1 - a.beta1, 1 - a.beta2, a.rate, a.epsilon};
  for (int64_t i = at; i < at + count; ++i) adam.step(a.gradient[i], a.parameter[i], a.first[i], a.second[i]);
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
