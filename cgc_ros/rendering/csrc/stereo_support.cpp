// The few depths that are left at a pixel: what they are, support windows for them, and which one it is
// (matcher.py: _hypotheses, _decide; matching.py: SupportWindow).
#include "stereo_sampling.h"

namespace cgc::CGC_ISA {

constexpr int kMaxTaps = 49;
constexpr float kUntrusted = 0.3f;  // score that a depth without a lead of its own must be better by

static inline int clamped(int i, int size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }

void hypotheses(const HypothesesJob& job) {
  const Grid &g = job.grid, &c = job.coarse;
  const int offsets[5][2] = {{0, 0}, {0, -job.reach}, {0, job.reach}, {-job.reach, 0}, {job.reach, 0}};
  const size_t map = g.floats();
  for (int y = 0; y < g.height; ++y) {
    const size_t at = size_t(y) * g.stride;
    for (int k = 0; k < 5; ++k) {
      const size_t row = size_t(clamped(job.lookup.row[y] + offsets[k][0], c.height)) * c.stride;
      const float* w = job.coarse_w + row + offsets[k][1];
      const float* lead = job.coarse_lead + row + offsets[k][1];
      for (int x = 0; x < g.width; ++x) {
        const int column = job.lookup.column[x];
        job.w[k * map + at + x] = w[column], job.lead[k * map + at + x] = lead[column];
      }
    }
    const float* upper = job.coarse_w + size_t(job.lookup.upper[y]) * c.stride;
    const float* lower = job.coarse_w + size_t(clamped(job.lookup.upper[y] + 1, c.height)) * c.stride;
    const float down = job.lookup.lower_share[y];
    for (int x = 0; x < g.width; ++x) {
      const int left = job.lookup.left[x];
      const float right = job.lookup.right_share[x];
      const float above = upper[left] + right * (upper[left + 1] - upper[left]);
      const float below = lower[left] + right * (lower[left + 1] - lower[left]);
      const float smooth = above + down * (below - above);
      if (__builtin_fabsf(smooth - job.w[at + x]) < job.step) job.w[at + x] = smooth;
    }
    if (!job.prior) continue;
    const float* prior = job.prior + size_t(y) * g.width;
    for (int x = 0; x < g.width; ++x) {
      job.w[5 * map + at + x] = prior[x];
      job.lead[5 * map + at + x] = prior[x] > 0.0f ? job.prior_lead : 0.0f;
    }
  }
}

void choose_pair(const ChoiceJob& job) {
  const Grid& g = job.grid;
  const size_t map = g.floats();
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      vfloat w[kMaxHypotheses] = {}, lead[kMaxHypotheses] = {}, score[kMaxHypotheses];
      vfloat best = splat(-1e9f), best_w = splat(0.0f), best_lead = splat(0.0f);
      for (int k = 0; k < job.hypotheses; ++k) {
        w[k] = load(job.w + k * map + at), lead[k] = load(job.lead + k * map + at);
        score[k] = load(job.scores + k * map + at) - select(lead[k] > splat(0.0f), splat(0.0f), splat(kUntrusted));
        const vint better = score[k] > best;
        best = select(better, score[k], best);
        best_w = select(better, w[k], best_w), best_lead = select(better, lead[k], best_lead);
      }
      vfloat rival = splat(-2.0f), rival_w = w[0], rival_lead = lead[0];
      for (int k = 0; k < job.hypotheses; ++k) {
        const vint better = (absolute(w[k] - best_w) > splat(job.differs)) & (score[k] > rival);
        rival = select(better, score[k], rival);
        rival_w = select(better, w[k], rival_w), rival_lead = select(better, lead[k], rival_lead);
      }
      store(job.pair_w + at, best_w), store(job.pair_lead + at, best_lead);
      store(job.pair_w + map + at, rival_w), store(job.pair_lead + map + at, rival_lead);
    }
}

void decide(const DecisionJob& job) {
  const Grid& g = job.grid;
  const size_t map = g.floats();
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      vfloat lead[2], score[2];
      for (int k = 0; k < 2; ++k) {
        lead[k] = load(job.pair_lead + k * map + at), score[k] = load(job.pair_scores + k * map + at);
        lead[k] = max(lead[k], splat(0.0f));
      }
      const vfloat none = splat(0.0f), untrusted = splat(kUntrusted);
      const vint second =
          score[1] - select(lead[1] > none, none, untrusted) > score[0] - select(lead[0] > none, none, untrusted);
      const vfloat w = select(second, load(job.pair_w + map + at), load(job.pair_w + at));
      store(job.w + at, w), store(job.score + at, select(second, score[1], score[0]));
      store(job.lead + at, select(second, lead[1], lead[0]));
      store(job.nudged_w + at, w - splat(job.nudge)), store(job.nudged_w + map + at, w + splat(job.nudge));
    }
}

void refine_peak(const DecisionJob& job, const float* nudged_scores) {
  const Grid& g = job.grid;
  const size_t map = g.floats();
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      const vfloat below = load(nudged_scores + at), score = load(job.score + at);
      const vfloat above = load(nudged_scores + map + at), curvature = below - splat(2.0f) * score + above;
      const vfloat one = splat(1.0f), none = splat(0.0f);
      const vfloat uphill = select(above > below, one, select(above < below, -one, none));
      const vint has_peak = curvature < splat(-1e-6f);
      vfloat peak = select(has_peak, splat(0.5f) * (below - above) / select(has_peak, curvature, one), uphill);
      peak = max(min(peak, one), -one);
      store(job.w + at, load(job.w + at) + splat(job.nudge) * peak);
    }
}

void support_scores(const SupportJob& job) {
  const Grid& g = job.images->grid;
  const int reach = job.taps / 2 * job.stride, count = job.taps * job.taps, sources = job.images->count;
  const float log2e = 1.44269504f, sigma = 0.75f * reach > 1.0f ? 0.75f * reach : 1.0f;
  const vfloat unlike = splat(-0.5f * log2e / (job.color_sigma * job.color_sigma));
  const vfloat noise = splat(job.images->noise_variance), lowest = splat(-60.0f);
  float distance[kMaxTaps];
  int shift[kMaxTaps];
  for (int k = 0; k < count; ++k) {
    const int dx = k % job.taps * job.stride - reach, dy = k / job.taps * job.stride - reach;
    shift[k] = dx, distance[k] = -log2e * float(dx * dx + dy * dy) / (2.0f * sigma * sigma);
  }
  for (int y = 0; y < g.height; ++y) {
    size_t rows[kMaxTaps];
    for (int k = 0; k < count; ++k)
      rows[k] = size_t(clamped(y + k / job.taps * job.stride - reach, g.height)) * g.stride + shift[k];
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      const vfloat red = load(job.color[0] + at), green = load(job.color[1] + at), blue = load(job.color[2] + at);
      vfloat weight[kMaxTaps], centred[kMaxTaps];
      vfloat total = splat(0.0f), mean = total, second = total;
      for (int k = 0; k < count; ++k) {
        const size_t there = rows[k] + x;
        const vfloat r = load(job.color[0] + there) - red, gr = load(job.color[1] + there) - green;
        const vfloat b = load(job.color[2] + there) - blue, grey = load(job.images->reference + there);
        weight[k] = exp2(max(unlike * (r * r + gr * gr + b * b) + splat(distance[k]), lowest));
        centred[k] = grey;
        total += weight[k], mean += weight[k] * grey, second += weight[k] * grey * grey;
      }
      const vfloat share = splat(1.0f) / total;
      mean = mean * share;
      const vfloat variance = max(second * share - mean * mean, splat(0.0f)) + noise;
      for (int k = 0; k < count; ++k) weight[k] = weight[k] * share, centred[k] = weight[k] * (centred[k] - mean);
      for (int h = 0; h < job.hypotheses; ++h) {
        vfloat each[kMaxSources];
        for (int s = 0; s < sources; ++s) {
          const float* warped = job.warped + size_t(h * sources + s) * g.floats() + x;
          vfloat m = splat(0.0f), square = m, product = m;
          for (int k = 0; k < count; ++k) {
            const vfloat value = load(warped + rows[k]), weighted = weight[k] * value;
            m += weighted, square += weighted * value, product += centred[k] * value;
          }
          const vfloat spread = square - m * m;
          const vfloat there = select(spread < splat(0.0f), splat(0.0f), spread) + noise;
          each[s] = product * inverse_sqrt(there * variance);
        }
        store(job.scores + h * g.floats() + at, over_sources(each, sources, job.images->hidden));
      }
    }
  }
}

}  // namespace cgc::CGC_ISA
