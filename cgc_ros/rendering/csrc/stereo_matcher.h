// The steps of plane-sweep stereo on whole images: memory for the kernels, and their order.
#pragma once

#include <vector>

#include "stereo.h"

namespace cgc {

// Zeroed maps of one size.
class Maps {
 public:
  Maps(const Grid& grid, int count) : grid_(grid), floats_(grid.floats() * count, 0.0f) {}
  float* operator[](int k) { return floats_.data() + grid_.floats() * k + kMargin; }
  const Grid& grid() const { return grid_; }
  void read(int k, const float* image);         // [height, width]
  void write(int k, float* image);              // the same way back
 private:
  Grid grid_;
  std::vector<float> floats_;
};

// A source's grey values [height, width], 0..1, NaN where it matches nothing, and where the reference's points land in it.
struct SourceImage {
  int width, height;
  const float* grey;
  float columns[9];
  float parallax[3];
};

// Reference and sources at one working size.
class MatchLevel {
 public:
  MatchLevel(int width, int height, const float* reference, const std::vector<SourceImage>& sources, float noise,
             float hidden);
  const Grid& grid() const { return reference_.grid(); }
  const MatchImages& images() const { return images_; }

  // Standard deviation of the reference's grey value in each window, [h, w], 0 at the rim.
  void contrast(int window, float* out);
  // Scores of fronto-parallel planes at inverse depths `planes`, [D, h, w].
  void plane_scores(const std::vector<float>& planes, int window, float* out);
  // Winner of each pixel among the planes, [h, w] each, smoothed semi-globally where `smoothing` is given.
  void sweep(const std::vector<float>& planes, int window, const Smoothing* smoothing, int32_t* index, float* position,
             float* lead, float* score);

 private:
  friend class Refinement;
  Maps box_moments(int window);  // mean, deviation
  Maps reference_;
  std::vector<std::vector<uint32_t>> pairs_;
  MatchImages images_;
};

struct RefineOptions {
  int window;
  float step;            // inverse depth between the sweep's planes
  float differs;         // inverse depth between two depths worth telling apart
  int reach;             // pixels of the sweep around a pixel that lend it their depth
  float prior_lead;
  int taps, stride;
  float color_sigma;
  float nudge;           // inverse depth
  float surface, unique_lead, min_confidence, min_parallax;
};

// Inverse depth and confidence [h, w] out of the sweep's [coarse_height, coarse_width]; `color` [3, h, w]; `prior`
// [h, w] or null.
void refine(MatchLevel& level, const float* color, int coarse_width, int coarse_height, const float* coarse_w,
            const float* coarse_lead, const float* prior, const RefineOptions& options, float* w, float* confidence);

// An image at another size, bilinear with a low-pass filter where it shrinks (torch's interpolate with antialias).
// `bytes` [height, width, 3] becomes [3, h, w] in color or [h, w] in grey, 0..1.
void resize_bytes(const uint8_t* bytes, int width, int height, bool color, int out_width, int out_height, float* out);
void resize_grey(const float* grey, int width, int height, int out_width, int out_height, float* out);

// Depth [height, width] out of inverse depth [h, w]: interpolated on a surface, nearest across edges.
void enlarge(const float* w, const float* confidence, const Grid& grid, float surface, int width, int height,
             float* depth, float* sure);

}  // namespace cgc
