// The stereo kernels of one instruction set.
#include "simd.h"
#include "stereo.h"

namespace cgc::CGC_ISA {

void shrink(const ShrinkJob&, GrowingBuffer&);
void box_reference(const MatchImages&, int, float*, float*, GrowingBuffer&);
void box_scores(const MatchImages&, const BoxMoments&, const float*, float, float*, GrowingBuffer&);
void to_volume(const Grid&, const float*, int, const Volume&);
void semi_global(const Grid&, const Volume&, const Smoothing&, const Winners&, GrowingBuffer&);
void winners(const Volume&, const Winners&);
void warp(const MatchImages&, int, const float*, float*);
void support_scores(const SupportJob&);
void hypotheses(const HypothesesJob&);
void choose_pair(const ChoiceJob&);
void decide(const DecisionJob&);
void refine_peak(const DecisionJob&, const float*);
void check(const CheckJob&, GrowingBuffer&);
void enlarge(const EnlargeJob&, GrowingBuffer&);

extern const StereoKernels stereo_table;
const StereoKernels stereo_table = {
    shrink,         box_reference, box_scores,  to_volume, semi_global, winners, warp,
    support_scores, hypotheses,    choose_pair, decide,    refine_peak, check,   enlarge,
};

}  // namespace cgc::CGC_ISA
