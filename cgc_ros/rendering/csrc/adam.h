// One update of Adam (Kingma and Ba 2015, without bias correction), for a float or a vector of them.
#pragma once

#include "simd.h"

namespace cgc::CGC_ISA {
namespace {

inline float sqrt(float x) { return __builtin_sqrtf(x); }

template <class Float>
struct Adam {
  Float decay1, decay2, rate, epsilon;  // decays: 1 - beta
  void step(Float gradient, Float& value, Float& first, Float& second) const {
    first += decay1 * (gradient - first);
    second += decay2 * (gradient * gradient - second);
    value -= rate * first / (sqrt(second) + epsilon);
  }
};

}  // namespace
}  // namespace cgc::CGC_ISA
