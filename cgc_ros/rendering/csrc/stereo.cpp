#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "stereo_matcher.h"

namespace cgc {
namespace {

const StereoKernels& stereo() { return *kernels().stereo; }

// Of torch's interpolate with antialias, aligned by the edges of pixels.
struct FilterTable {
  std::vector<int32_t> first;
  std::vector<float> weights;
  Taps taps;
  FilterTable(int from, int to) : first(to) {
    const double scale = double(from) / to, support = std::max(scale, 1.0);
    const int reach = std::min(from, int(std::ceil(support)) * 2 + 1);
    weights.assign(size_t(reach) * to, 0.0f);
    for (int i = 0; i < to; ++i) {
      const double center = scale * (i + 0.5);
      const int begin = std::max(int(center - support + 0.5), 0), end = std::min(int(center + support + 0.5), from);
      first[i] = begin;
      double total = 0;
      for (int j = begin; j < end; ++j) total += std::max(0.0, 1.0 - std::abs(j + 0.5 - center) / support);
      for (int j = begin; j < end; ++j)
        weights[size_t(j - begin) * to + i] = float(std::max(0.0, 1.0 - std::abs(j + 0.5 - center) / support) / total);
    }
    taps = {to, reach, first.data(), weights.data()};
  }
};

struct AxisLookup {
  std::vector<int32_t> nearest, lower;
  std::vector<float> share;
  AxisLookup(int from, int to) : nearest(to), lower(to), share(to) {
    const float scale = float(from) / float(to);
    for (int i = 0; i < to; ++i) {
      nearest[i] = std::min(int((i + 0.5f) * scale), from - 1);
      const float at = std::max((i + 0.5f) * scale - 0.5f, 0.0f);
      lower[i] = std::min(int(at), from - 1);
      share[i] = at - lower[i];
    }
  }
};

Lookup lookup_of(const AxisLookup& across, const AxisLookup& down) {
  return {int(across.nearest.size()), int(down.nearest.size()), across.nearest.data(), across.lower.data(),
          across.share.data(),        down.nearest.data(),      down.lower.data(),     down.share.data()};
}

void resize(ShrinkJob job, int out_width, int out_height) {
  const FilterTable across(job.width, out_width), down(job.height, out_height);
  job.across = across.taps, job.down = down.taps;
  GrowingBuffer scratch;
  stereo().shrink(job, scratch);
}

uint32_t packed(float grey) {
  return std::isnan(grey) ? kBlind : uint32_t(std::min(std::max(grey, 0.0f), 1.0f) * float(kWhite) + 0.5f);
}

}  // namespace

void Maps::read(int k, const float* image) {
  float* map = (*this)[k];
  for (int y = 0; y < grid_.height; ++y)
    std::memcpy(map + size_t(y) * grid_.stride, image + size_t(y) * grid_.width, sizeof(float) * grid_.width);
}

void Maps::write(int k, float* image) {
  const float* map = (*this)[k];
  for (int y = 0; y < grid_.height; ++y)
    std::memcpy(image + size_t(y) * grid_.width, map + size_t(y) * grid_.stride, sizeof(float) * grid_.width);
}

MatchLevel::MatchLevel(int width, int height, const float* reference, const std::vector<SourceImage>& sources,
                       float noise, float hidden)
    : reference_(Grid(width, height), 1), pairs_(sources.size()) {
  const Grid& g = grid();
  reference_.read(0, reference);
  float* map = reference_[0];
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) map[size_t(y) * g.stride + x] -= 0.5f;
  images_.grid = g, images_.reference = map, images_.count = int(sources.size());
  images_.noise_variance = noise * noise, images_.hidden = hidden;
  for (size_t s = 0; s < sources.size(); ++s) {
    const SourceImage& source = sources[s];
    const size_t pixels = size_t(source.width) * source.height;
    pairs_[s].resize(pixels);
    for (size_t p = 0; p < pixels; ++p) pairs_[s][p] = packed(source.grey[p]);
    for (size_t p = 0; p + 1 < pixels; ++p) pairs_[s][p] |= pairs_[s][p + 1] << 16;
    MatchSource& to = images_.sources[s];
    to.width = source.width, to.height = source.height, to.pairs = pairs_[s].data();
    std::copy_n(source.columns, 9, to.columns), std::copy_n(source.parallax, 3, to.parallax);
  }
}

Maps MatchLevel::box_moments(int window) {
  Maps moments(grid(), 2);
  GrowingBuffer scratch;
  stereo().box_reference(images_, window, moments[0], moments[1], scratch);
  float* deviation = moments[1];
  for (size_t i = 0; i < grid().floats() - kMargin; ++i)
    deviation[i] = 1.0f / std::sqrt(std::max(deviation[i], 0.0f) + images_.noise_variance);
  return moments;
}

void MatchLevel::contrast(int window, float* out) {
  Maps moments(grid(), 2);
  GrowingBuffer scratch;
  stereo().box_reference(images_, window, moments[0], moments[1], scratch);
  moments.write(1, out);
  for (size_t i = 0; i < size_t(grid().width) * grid().height; ++i) out[i] = std::sqrt(out[i]);
}

void MatchLevel::plane_scores(const std::vector<float>& planes, int window, float* out) {
  Maps moments = box_moments(window), scores(grid(), 1);
  GrowingBuffer scratch;
  for (size_t p = 0; p < planes.size(); ++p) {
    stereo().box_scores(images_, {window, moments[0], moments[1]}, nullptr, planes[p], scores[0], scratch);
    scores.write(0, out + p * size_t(grid().width) * grid().height);
  }
}

void MatchLevel::sweep(const std::vector<float>& planes, int window, const Smoothing* smoothing, int32_t* index,
                       float* position, float* lead, float* score) {
  const Grid& g = grid();
  Maps moments = box_moments(window), scores(g, kVolumeLanes), found(g, 3);
  std::vector<int32_t> found_index(g.floats());
  Volume volume{g.width, g.height, int(planes.size()),
                int((planes.size() + kVolumeLanes - 1) / kVolumeLanes * kVolumeLanes), nullptr};
  GrowingBuffer values, scratch;
  values.grow(volume.floats() * sizeof(float));
  volume.data = static_cast<float*>(values.data);
  for (int p = 0; p < volume.planes; ++p) {
    stereo().box_scores(images_, {window, moments[0], moments[1]}, nullptr, planes[p], scores[p % kVolumeLanes],
                        scratch);
    if (p % kVolumeLanes == kVolumeLanes - 1 || p == volume.planes - 1)
      stereo().to_volume(g, scores[0], p / kVolumeLanes * kVolumeLanes, volume);
  }
  const Winners out{g, found_index.data() + kMargin, found[0], found[1], found[2]};
  if (smoothing) {
    Smoothing along = *smoothing;
    along.guide = images_.reference;
    stereo().semi_global(g, volume, along, out, scratch);
  } else {
    stereo().winners(volume, out);
  }
  for (int y = 0; y < g.height; ++y)
    std::memcpy(index + size_t(y) * g.width, out.index + size_t(y) * g.stride, sizeof(int32_t) * g.width);
  found.write(0, position), found.write(1, lead), found.write(2, score);
}

class Refinement {
 public:
  Refinement(MatchLevel& level, const float* color, const RefineOptions& options)
      : level_(level), grid_(level.grid()), options_(options), color_(grid_, 3), edges_drawn_(grid_, 1) {
    for (int c = 0; c < 3; ++c) {
      color_.read(c, color + size_t(c) * grid_.width * grid_.height);
      draw_out_edges(grid_, color_[c]);
    }
    edges_drawn_ = level.reference_;
    draw_out_edges(grid_, edges_drawn_[0]);
    images_ = level.images();
    images_.reference = edges_drawn_[0];
  }

  void run(const HypothesesJob& hypotheses, int count, float* w, float* confidence) {
    Maps depths(grid_, count), leads(grid_, count), scores(grid_, count);
    HypothesesJob job = hypotheses;
    job.w = depths[0], job.lead = leads[0];
    stereo().hypotheses(job);
    Maps moments = level_.box_moments(options_.window);
    for (int k = 0; k < count; ++k)
      stereo().box_scores(images_, {options_.window, moments[0], moments[1]}, depths[k], 0.0f, scores[k], scratch_);

    Maps pair(grid_, 2), pair_lead(grid_, 2), pair_scores(grid_, 2), decided(grid_, 4), nudged(grid_, 2);
    stereo().choose_pair({grid_, count, depths[0], leads[0], scores[0], options_.differs, pair[0], pair_lead[0]});
    support_scores(pair, pair_scores);
    const DecisionJob decision{grid_,      pair[0],    pair_lead[0], pair_scores[0], options_.nudge,
                               decided[0], decided[1], decided[2],   nudged[0]};
    stereo().decide(decision);
    support_scores(nudged, pair_scores);
    stereo().refine_peak(decision, pair_scores[0]);

    CheckJob check{};
    check.images = &images_;
    for (int c = 0; c < 3; ++c) check.color[c] = color_[c];
    check.color_sigma = options_.color_sigma, check.surface = options_.surface;
    check.unique_lead = options_.unique_lead, check.min_confidence = options_.min_confidence;
    check.min_parallax = options_.min_parallax;
    check.score = decided[1], check.lead = decided[2], check.w = decided[0], check.confidence = decided[3];
    stereo().check(check, scratch_);
    decided.write(0, w), decided.write(3, confidence);
  }

 private:
  void support_scores(Maps& depths, Maps& scores) {
    Maps warped(grid_, 2 * images_.count);
    for (int h = 0; h < 2; ++h)
      for (int s = 0; s < images_.count; ++s) {
        stereo().warp(images_, s, depths[h], warped[h * images_.count + s]);
        draw_out_edges(grid_, warped[h * images_.count + s]);
      }
    stereo().support_scores({&images_,
                             {color_[0], color_[1], color_[2]},
                             options_.taps,
                             options_.stride,
                             options_.color_sigma,
                             2,
                             warped[0],
                             scores[0]});
  }

  MatchLevel& level_;
  Grid grid_;
  RefineOptions options_;
  Maps color_, edges_drawn_;
  MatchImages images_;
  GrowingBuffer scratch_;
};

void refine(MatchLevel& level, const float* color, int coarse_width, int coarse_height, const float* coarse_w,
            const float* coarse_lead, const float* prior, const RefineOptions& options, float* w, float* confidence) {
  const Grid coarse(coarse_width, coarse_height);
  Maps found(coarse, 2);
  found.read(0, coarse_w), found.read(1, coarse_lead);
  draw_out_edges(coarse, found[0]), draw_out_edges(coarse, found[1]);
  const AxisLookup across(coarse_width, level.grid().width), down(coarse_height, level.grid().height);
  HypothesesJob job{};
  job.coarse = coarse, job.grid = level.grid(), job.lookup = lookup_of(across, down);
  job.coarse_w = found[0], job.coarse_lead = found[1], job.step = options.step, job.reach = options.reach;
  job.prior = prior, job.prior_lead = options.prior_lead;
  Refinement(level, color, options).run(job, prior ? 6 : 5, w, confidence);
}

void resize_bytes(const uint8_t* bytes, int width, int height, bool color, int out_width, int out_height, float* out) {
  ShrinkJob job{};
  job.bytes = bytes, job.width = width, job.height = height, job.color = color, job.out = out;
  resize(job, out_width, out_height);
}

void resize_grey(const float* grey, int width, int height, int out_width, int out_height, float* out) {
  ShrinkJob job{};
  job.grey = grey, job.width = width, job.height = height, job.out = out;
  resize(job, out_width, out_height);
}

void enlarge(const float* w, const float* confidence, const Grid& grid, float surface, int width, int height,
             float* depth, float* sure) {
  Maps found(grid, 2);
  found.read(0, w), found.read(1, confidence);
  const AxisLookup across(grid.width, width), down(grid.height, height);
  GrowingBuffer scratch;
  stereo().enlarge({grid, lookup_of(across, down), found[0], found[1], surface, depth, sure}, scratch);
}

}  // namespace cgc
