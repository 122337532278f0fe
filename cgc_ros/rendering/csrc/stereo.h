// Plane-sweep stereo on one core: what cgc_ros/stereo does with torch, for tensors in main memory. The torch code holds
// the sources of the method and is the oracle of the tests.
//
// Maps are rows of floats with room on both sides (Grid), so that windows and whole vectors may reach over the edge.
#pragma once

#include "scene.h"

namespace cgc {

constexpr int kMaxSources = 8;
constexpr int kMargin = 8;  // floats beside each row of a map
constexpr int kMaxHypotheses = 8;  // depths to choose between at a pixel
constexpr int kVolumeLanes = 8;  // planes of a volume are padded to a multiple
constexpr int kWhite = 65534;  // grey value 1 in a source, 0 being 0
constexpr int kBlind = 65535;  // a source's pixel that matches nothing

// Size of a map; element (x, y) stands at data + y * stride + x, data being kMargin after the first float.
struct Grid {
  int width, height, stride;
  Grid() : Grid(0, 0) {}
  Grid(int w, int h) : width(w), height(h), stride((w + 7) / 8 * 8 + 2 * kMargin) {}
  size_t floats() const { return size_t(stride) * height; }
};

// An image to match with. A point of the reference at pixel (x, y) and inverse depth w lands at homogeneous pixel
// columns * (x, y, 1) + w * parallax.
struct MatchSource {
  int width, height;
  const uint32_t* pairs;  // [height, width]: a grey value and its right neighbour's, 16 bits each (kWhite, kBlind)
  float columns[9];
  float parallax[3];
};

struct MatchImages {
  Grid grid;
  const float* reference;  // map, grey values less 0.5
  int count;
  MatchSource sources[kMaxSources];
  float noise_variance;
  float hidden;  // score that a source may cost a point, at most
};

// Separable filter along one axis: output i is the sum of weights[i * reach + k] * input[first[i] + k].
struct Taps {
  int size, reach;
  const int32_t* first;
  const float* weights;
};

struct ShrinkJob {
  const uint8_t* bytes;  // [height, width, 3] RGB, or null
  const float* grey;  // [height, width] in its place
  int width, height;
  Taps across, down;
  bool color;  // three planes out of bytes rather than their grey value
  float* out;  // [3 or 1, down.size, across.size]
};

struct BoxMoments {
  int window;
  const float* mean;  // maps, of the reference
  const float* deviation;  // 1 / sqrt(variance + noise variance)
};

// Costs or scores [height, width, depth], depth = planes padded by planes that never win.
struct Volume {
  int width, height, planes, depth;
  float* data;
  size_t floats() const { return size_t(width) * height * depth; }
};

struct Smoothing {
  float small_step, large_step, edge;
  const float* guide;  // map
};

struct Winners {
  Grid grid;
  int32_t* index;  // [height, stride] as maps
  float* position;  // maps
  float* lead;
  float* score;
};

// Support windows: `taps` x `taps` samples, `stride` pixels apart, weighing by likeness of colour.
struct SupportJob {
  const MatchImages* images;
  const float* color[3];  // maps with their edges drawn out
  int taps, stride;
  float color_sigma;
  int hypotheses;
  const float* warped;  // [hypotheses, sources] maps with their edges drawn out
  float* scores;  // [hypotheses] maps
};

struct CheckJob {
  const MatchImages* images;
  const float* color[3];  // maps
  float color_sigma, surface, unique_lead, min_confidence, min_parallax;
  const float* score;
  const float* lead;
  float* w;  // in and out
  float* confidence;  // out
};

// Rows and columns of a smaller map that pixels of a larger image look up.
struct Lookup {
  int width, height;  // of the larger
  const int32_t* column;  // [width] nearest
  const int32_t* left;  // [width] and its right neighbour's share, for interpolation
  const float* right_share;
  const int32_t* row;  // [height], the same downwards
  const int32_t* upper;
  const float* lower_share;
};

// Depths to choose between: the sweep's at a pixel and `reach` pixels of the sweep around it, and a prior's.
struct HypothesesJob {
  Grid coarse, grid;
  Lookup lookup;
  const float* coarse_w;  // maps with their edges drawn out
  const float* coarse_lead;  // 0 where not to be trusted
  float step;
  int reach;
  const float* prior;  // [height, width] or null, 0 = unknown
  float prior_lead;
  float* w;  // [5 or 6] maps
  float* lead;
};

struct ChoiceJob {
  Grid grid;
  int hypotheses;
  const float* w;  // [hypotheses] maps
  const float* lead;
  const float* scores;  // of square windows
  float differs;  // inverse depth
  float* pair_w;  // [2] maps: the best, and the best that differs from it
  float* pair_lead;
};

struct DecisionJob {
  Grid grid;
  const float* pair_w;
  const float* pair_lead;
  const float* pair_scores;
  float nudge;
  float* w;  // maps
  float* score;
  float* lead;
  float* nudged_w;  // [2] maps
};

struct EnlargeJob {
  Grid grid;
  Lookup lookup;
  const float* w;
  const float* confidence;
  float surface;  // inverse depth within which neighbours are one surface
  float* depth;  // [height, width]
  float* sure;
};

struct StereoKernels {
  void (*shrink)(const ShrinkJob&, GrowingBuffer& scratch);
  void (*box_reference)(const MatchImages&, int window, float* mean, float* variance, GrowingBuffer& scratch);
  // Of one plane at inverse depth `plane`, or of the depths of a map `w`; -1 at the rim and where no source sees.
  void (*box_scores)(const MatchImages&, const BoxMoments&, const float* w, float plane, float* scores,
                     GrowingBuffer& scratch);
  void (*to_volume)(const Grid&, const float* scores, int plane, const Volume&);  // eight maps from `plane` on
  void (*semi_global)(const Grid&, const Volume& scores, const Smoothing&, const Winners&, GrowingBuffer& scratch);
  void (*winners)(const Volume& scores, const Winners&);
  void (*warp)(const MatchImages&, int source, const float* w, float* warped);
  void (*support_scores)(const SupportJob&);
  void (*hypotheses)(const HypothesesJob&);
  void (*choose_pair)(const ChoiceJob&);
  void (*decide)(const DecisionJob&);
  void (*refine_peak)(const DecisionJob&, const float* nudged_scores);
  void (*check)(const CheckJob&, GrowingBuffer& scratch);
  void (*enlarge)(const EnlargeJob&, GrowingBuffer& scratch);
};

// Repeats the first and last column into the margins.
inline void draw_out_edges(const Grid& grid, float* map) {
  for (int y = 0; y < grid.height; ++y) {
    float* row = map + size_t(y) * grid.stride;
    for (int x = 0; x < kMargin; ++x) row[-1 - x] = row[0], row[grid.width + x] = row[grid.width - 1];
  }
}

}  // namespace cgc
