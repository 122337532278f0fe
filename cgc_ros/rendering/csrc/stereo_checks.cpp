// What a match must pass to be believed (matcher.py: refine; selection.py).
#include "stereo_sampling.h"

namespace cgc::CGC_ISA {

// share_of_alike_neighbours at eight pixels.
static vfloat alike_share(const CheckJob& job, int x, int y, int reach) {
  const Grid& g = job.images->grid;
  const int near = int(__builtin_rintf(reach / 2.0f)), diagonal = int(__builtin_rintf(reach * 2.0f / 3.0f));
  const int asked[12][2] = {{reach, 0},
                            {-reach, 0},
                            {0, reach},
                            {0, -reach},
                            {near, 0},
                            {-near, 0},
                            {0, near},
                            {0, -near},
                            {-diagonal, -diagonal},
                            {-diagonal, diagonal},
                            {diagonal, -diagonal},
                            {diagonal, diagonal}};
  const size_t at = size_t(y) * g.stride + x;
  const vfloat red = load(job.color[0] + at), green = load(job.color[1] + at), blue = load(job.color[2] + at);
  const vfloat w = load(job.w + at), tolerance = splat(1.5f * job.surface);
  const vfloat unlike = splat(-0.5f * 1.44269504f / (job.color_sigma * job.color_sigma));
  vfloat agree = splat(0.0f), total = splat(1e-6f);
  for (const auto& [dy, dx] : asked) {
    if (y + dy < 0 || y + dy >= g.height) continue;
    const vfloat column = splat(float(x + dx)) + lane_numbers();
    const vint inside = (column >= splat(0.0f)) & (column < splat(float(g.width)));
    const size_t there = size_t(y + dy) * g.stride + x + dx;
    const vfloat r = load(job.color[0] + there) - red, gr = load(job.color[1] + there) - green;
    const vfloat b = load(job.color[2] + there) - blue;
    const vfloat weight = only_where(inside, exp2(max(unlike * (r * r + gr * gr + b * b), splat(-60.0f))));
    total += weight;
    agree += only_where(absolute(load(job.w + there) - w) < tolerance, weight);
  }
  return agree / total;
}

// keeps_its_match: of the pixels that land on one source pixel, the most confident holds it.
static void keep_unique(const CheckJob& job, int32_t* kept, int32_t* landing, float* strongest, float* held) {
  const Grid& g = job.images->grid;
  for (int s = 0; s < job.images->count; ++s) {
    const MatchSource& source = job.images->sources[s];
    const size_t pixels = size_t(source.width) * source.height;
    for (size_t p = 0; p < pixels; ++p) strongest[p] = 0.0f, held[p] = 0.0f;
    for (int y = 0; y < g.height; ++y)
      for (int x = 0; x < g.width; x += kLanes) {
        const size_t at = size_t(y) * g.stride + x;
        const vfloat w = load(job.w + at), confidence = load(job.confidence + at);
        const Landing to = land(source, x, y, w);
        const vint inside = to.ahead & (confidence > splat(0.0f)) & (to.x >= splat(-0.5f)) & (to.y >= splat(-0.5f)) &
                            (to.x < splat(source.width - 0.5f)) & (to.y < splat(source.height - 0.5f));
        if (!lane_bits(inside)) {
          store(landing + at, splat(int32_t(-1)));
          continue;
        }
        const vfloat shifter = splat(12582912.0f);  // 1.5 * 2^23: rounds to the nearest, halves to even
        const vint column = to_int((select(inside, to.x, splat(0.0f)) + shifter) - shifter);
        const vint row = to_int((select(inside, to.y, splat(0.0f)) + shifter) - shifter);
        store(landing + at, select(inside, row * source.width + column, splat(int32_t(-1))));
        for (int i = 0; i < kLanes; ++i) {
          const int32_t p = landing[at + i];
          if (p < 0) continue;
          const float mine = job.confidence[at + i], my_w = job.w[at + i];
          if (mine > strongest[p] || (mine == strongest[p] && my_w > held[p])) strongest[p] = mine, held[p] = my_w;
        }
      }
    for (int y = 0; y < g.height; ++y)
      for (int x = 0; x < g.width; ++x) {
        const size_t at = size_t(y) * g.stride + x;
        if (landing[at] >= 0 && __builtin_fabsf(job.w[at] - held[landing[at]]) < job.surface) kept[at] = 1;
      }
  }
}

// Pixels between where a point is seen and where it would be at infinity, in the source that shows most.
static vfloat greatest_parallax(const MatchImages& images, int x, int y, vfloat w) {
  vfloat most = splat(0.0f);
  for (int s = 0; s < images.count; ++s) {
    const MatchSource& source = images.sources[s];
    const Landing at = land(source, x, y, w), infinity = land(source, x, y, splat(0.0f));
    const vint inside = at.ahead & (at.x > splat(-0.5f)) & (at.y > splat(-0.5f)) & (at.x < splat(source.width - 0.5f)) &
                        (at.y < splat(source.height - 0.5f));
    const vfloat u = at.x - infinity.x, v = at.y - infinity.y;
    most = select(inside, max(most, sqrt(u * u + v * v)), most);
  }
  return most;
}

static void clear_margins(const Grid& g, float* map) {
  for (int y = 0; y < g.height; ++y) {
    float* row = map + size_t(y) * g.stride;
    for (int x = 0; x < kMargin; ++x) row[-1 - x] = 0.0f;
    for (int x = g.width; x < g.stride - kMargin; ++x) row[x] = 0.0f;
  }
}

void check(const CheckJob& job, GrowingBuffer& scratch) {
  constexpr int kReach = 3;
  const Grid& g = job.images->grid;
  size_t largest = 0;
  for (int s = 0; s < job.images->count; ++s) {
    const size_t pixels = size_t(job.images->sources[s].width) * job.images->sources[s].height;
    if (pixels > largest) largest = pixels;
  }
  float* averaged = reserve(scratch, 4 * g.floats() + 2 * largest) + kMargin;
  int32_t* landing = reinterpret_cast<int32_t*>(averaged - kMargin + g.floats()) + kMargin;
  int32_t* kept = landing + g.floats();
  float* support = averaged + 3 * g.floats();
  float* strongest = support - kMargin + g.floats();
  std::memset(kept - kMargin, 0, sizeof(int32_t) * g.floats());
  const vfloat none = splat(0.0f);
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      const vfloat score = max(min(load(job.score + at), splat(1.0f)), none), lead = load(job.lead + at);
      const vfloat confidence = score * alike_share(job, x, y, 6) * lead / (lead + splat(job.unique_lead));
      store(job.confidence + at, select(confidence >= splat(job.min_confidence), confidence, none));
    }
  keep_unique(job, kept, landing, strongest, strongest + largest);
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; ++x) {
      const size_t at = size_t(y) * g.stride + x;
      if (!kept[at]) job.confidence[at] = 0.0f;
    }
  clear_margins(g, job.confidence), clear_margins(g, job.w);
  for (int y = 0; y < g.height; ++y) {  // agreeing_neighbours
    const int top = y < kReach ? -y : -kReach, bottom = y + kReach >= g.height ? g.height - 1 - y : kReach;
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      const vfloat w = load(job.w + at), surface = splat(job.surface);
      vfloat weight = none, moved = none;
      for (int dy = top; dy <= bottom; ++dy)
        for (int dx = -kReach; dx <= kReach; ++dx) {
          const size_t there = at + int64_t(dy) * g.stride + dx;
          const vfloat difference = load(job.w + there) - w;
          const vfloat trust = only_where(absolute(difference) < surface, load(job.confidence + there));
          weight += trust, moved += trust * difference;
        }
      store(averaged + at, w + moved / max(weight, splat(1e-6f)));
      store(support + at, weight * splat(1.0f / ((2 * kReach + 1) * (2 * kReach + 1))));
    }
  }
  for (int y = 0; y < g.height; ++y)
    for (int x = 0; x < g.width; x += kLanes) {
      const size_t at = size_t(y) * g.stride + x;
      const vfloat w = load(averaged + at);
      const vint trusted = (load(support + at) >= splat(job.min_confidence * 2.0f / 3.0f)) &
                           (greatest_parallax(*job.images, x, y, w) >= splat(job.min_parallax));
      store(job.w + at, w), store(job.confidence + at, only_where(trusted, load(job.confidence + at)));
    }
}

}  // namespace cgc::CGC_ISA
