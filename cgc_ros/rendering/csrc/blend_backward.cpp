// Gradients of a tile, back to front. The transmittance is recovered by division, and what lies behind a Gaussian is
// one number a pixel: sum of w_j (c_j . dL/dC), since only its product with dL/dC matters.
//
// Per block and run of Gaussians: alphas; products channels . dL/dC of eight Gaussians at once; the walk back through
// the run; sums of w dL/dC for the channels, four Gaussians at once with the channels across the lanes.
#include "channels.h"
#include "kernels.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

constexpr int kGeometry = 8;  // floats of a gradient record before its channels: s, su, sv, suu, suv, svv, -, -
constexpr int kQuadrants = 4;  // of a tile, 8 x 8 pixels each: geometry is summed about their centres

struct BackwardBlock {
  vfloat transmittance;  // in front of what has been visited so far
  vfloat behind;         // gradient times what lies behind
  vint stop;
  int last_stop;
};

// Sizes are rounded up to a multiple of four by entries of no weight that belong to the row after the segment's last.
struct BackwardQueue {
  alignas(32) float alpha[kQueue][kLanes];    // 0 where the Gaussian is not blended
  alignas(32) float movable[kQueue][kLanes];  // alpha where it follows opacity and geometry, 0 where it is clamped
  alignas(32) float s[kQueue][kLanes];        // alpha dL/dalpha
  alignas(32) float dot[kQueue][kLanes];      // channels . gradient of the pixel
  alignas(32) float weights[kQueue][kLanes];
  int32_t index[kQueue];
  int size, padded_size;
};

struct BackwardScratch {
  Segment segment;
  BackwardQueue queue;
  BackwardBlock blocks[kBlocks];
};

// The arrays behind BackwardScratch.
struct BackwardArrays {
  float* moments;     // [kSegment + 2, kQuadrants, 8] of s = alpha dL/dalpha
  float* gradients;   // [kSegment + 1, stride] of the channels
  float* by_channel;  // [kBlocks, stride, 8] gradients of the pixels
  float* by_pixel;    // [kBlocks, 8, stride] the same
  float* records;     // [kSegment + 1, stride] channels

  BackwardArrays(void* memory, int stride) {
    moments = static_cast<float*>(memory);
    gradients = moments + (kSegment + 2) * kQuadrants * kLanes;
    by_channel = gradients + (kSegment + 1) * stride;
    by_pixel = by_channel + kBlocks * kLanes * stride;
    records = by_pixel + kBlocks * kLanes * stride;
  }
  static size_t floats(const Channels& channels) {
    const size_t stride = channels.stride();
    return (kSegment + 2) * (kQuadrants * kLanes + stride) + 2 * kBlocks * kLanes * stride +
           record_floats(channels, kSegment + 1);
  }
};

// Gradients of a block's pixels by channel and by pixel; where depth was normalised by alpha, that is undone here.
void load_pixel_gradients(const BackwardTiles& job, const TilePixels& pixels, int block, float* by_channel,
                          float* by_pixel, BackwardBlock& state) {
  const ForwardTiles& forward = job.forward;
  const Channels& channels = forward.channels;
  const int stride = channels.stride(), num_features = channels.num_features;
  const int color_at = channels.color_at(), depth_at = channels.depth_at();
  std::memset(by_pixel, 0, sizeof(float) * kLanes * stride);
  float to_transmittance[kLanes] = {};
  for (int l = 0; l < kLanes; ++l) {
    if (!pixels.is_inside(block, l)) continue;
    const int64_t pixel = pixels.pixel(forward.view, block, l);
    float* out = by_pixel + l * stride;
    float v_transmittance = job.alpha ? -job.alpha[pixel] : 0.0f;
    if (job.features) std::memcpy(out, job.features + pixel * num_features, num_features * sizeof(float));
    if (job.color && channels.color) {
      for (int k = 0; k < 3; ++k) {
        out[color_at + k] = job.color[3 * pixel + k];
        if (forward.background) v_transmittance += forward.background[k] * out[color_at + k];
      }
    }
    if (job.depth && channels.depth) {
      const float alpha = 1.0f - state.transmittance[l];
      if (alpha > 1e-10f) {
        const float v_sum = job.depth[pixel] / alpha;
        out[depth_at] = v_sum;
        v_transmittance += v_sum * forward.depth[pixel];
      }
    }
    to_transmittance[l] = v_transmittance;
  }
  state.behind = state.transmittance * load(to_transmittance);
  for (int base = 0; base < stride; base += kLanes) {
    vfloat rows[kLanes];
    for (int l = 0; l < kLanes; ++l) rows[l] = load(by_pixel + l * stride + base);
    transpose(rows);
    for (int k = 0; k < kLanes; ++k) store(by_channel + (base + k) * kLanes, rows[k]);
  }
}

// Alphas of list entries from - 1, from - 2, ...; returns where the next run ends.
inline int alpha_run(const Segment& segment, int block, int from, int position, const BackwardBlock& state,
                     BackwardQueue& queue) {
  const vfloat px = TilePixels::centre_x(block), py = TilePixels::centre_y(block);
  const uint8_t* list = segment.lists[block];
  const int end = from > kQueue ? from - kQueue : 0;
  const vint stop = state.stop - splat(position);
  int n = 0;
  for (int k = from - 1; k >= end; --k) {
    const int i = list[k];
    vint reached;
    vfloat u, v;
    vfloat raw = alpha_at(segment.splats[i], px, py, reached, u, v);
    vint active = reached & (stop > splat(i));
    store(queue.alpha[n], only_where(active, min(raw, splat(kAlphaMax))));
    store(queue.movable[n], only_where(active & (raw <= splat(kAlphaMax)), raw));
    queue.index[n] = i;
    n += lane_bits(active) != 0;
  }
  queue.size = n;
  for (; n % 4; ++n) {
    store(queue.weights[n], splat(0.0f)), store(queue.s[n], splat(0.0f));
    queue.index[n] = kSegment;
  }
  queue.padded_size = n;
  return end;
}

template <int kRows>
inline void dots_of(BackwardQueue& queue, int q, const float* records, int stride, int count, const float* by_channel) {
  const float* record[kRows];
  vfloat dot[kRows];
#pragma GCC unroll 8
  for (int j = 0; j < kRows; ++j) record[j] = records + queue.index[q + j] * stride, dot[j] = splat(0.0f);
  for (int k = 0; k < count; ++k) {
    const vfloat gradient = load(by_channel + k * kLanes);
#pragma GCC unroll 8
    for (int j = 0; j < kRows; ++j) dot[j] += gradient * splat(record[j][k]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < kRows; ++j) store(queue.dot[q + j], dot[j]);
}

inline void dots(BackwardQueue& queue, const float* records, int stride, int count, const float* by_channel) {
  int q = 0;
  for (; q + 8 <= queue.padded_size; q += 8) dots_of<8>(queue, q, records, stride, count, by_channel);
  if (q < queue.padded_size) dots_of<4>(queue, q, records, stride, count, by_channel);
}

// Weights of the run, and the gradients of opacity and geometry.
inline void walk_back(BackwardQueue& queue, BackwardBlock& state) {
  vfloat transmittance = state.transmittance, behind = state.behind;
  const vfloat one = splat(1.0f);
  for (int q = 0; q < queue.size; ++q) {
    vfloat alpha = load(queue.alpha[q]), dot = load(queue.dot[q]);
    vfloat inverse = one / (one - alpha);
    transmittance *= inverse;
    vfloat weight = alpha * transmittance;
    vfloat v_alpha = transmittance * dot - behind * inverse;
    behind += weight * dot;
    store(queue.weights[q], weight);
    store(queue.s[q], load(queue.movable[q]) * v_alpha);
  }
  state.transmittance = transmittance, state.behind = behind;
}

// gradients[channel] += weight * dL/dC over the block's pixels, for kVectors vectors of channels from `base` on.
template <int kVectors>
inline void scatter_vectors(const BackwardQueue& queue, int stride, int base, const float* by_pixel, float* gradients) {
  constexpr int kRows = 4;
  for (int q = 0; q < queue.padded_size; q += kRows) {
    vfloat g[kRows][kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kRows; ++j)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) g[j][v] = splat(0.0f);
#pragma GCC unroll 8
    for (int l = 0; l < kLanes; ++l) {
      vfloat pixel[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) pixel[v] = load(by_pixel + l * stride + base + v * kLanes);
#pragma GCC unroll 4
      for (int j = 0; j < kRows; ++j) {
        const vfloat weight = splat(queue.weights[q + j][l]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) g[j][v] += weight * pixel[v];
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kRows; ++j) {
      float* out = gradients + queue.index[q + j] * stride + base;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, load(out + v * kLanes) + g[j][v]);
    }
  }
}

// 1, x, y, x^2, x y, y^2 of a quadrant's pixels about its centre, by the place of their block in the quadrant.
struct MomentBasis {
  alignas(32) float of[kBlocks / kQuadrants][kLanes][kLanes];
  constexpr MomentBasis() : of() {
    for (int block = 0; block < kBlocks / kQuadrants; ++block)
      for (int l = 0; l < kLanes; ++l) {
        const float x = float(block % 2 * kBlockWidth + l % kBlockWidth) - 3.5f;
        const float y = float(block / 2 * kBlockHeight + l / kBlockWidth) - 3.5f;
        const float terms[6] = {1.0f, x, y, x * x, x * y, y * y};
        for (int k = 0; k < 6; ++k) of[block][l][k] = terms[k];
      }
  }
};
constexpr MomentBasis kMoments;

inline void scatter_geometry(const BackwardQueue& queue, int block, float* moments) {
  const int column = block % 4, row = block / 4;
  vfloat basis[kLanes];
#pragma GCC unroll 8
  for (int l = 0; l < kLanes; ++l) basis[l] = load(kMoments.of[row % 4 * 2 + column % 2][l]);
  float* of_quadrant = moments + (row / 4 * 2 + column / 2) * kLanes;
  for (int q = 0; q < queue.padded_size; q += 2) {
    vfloat m[2] = {splat(0.0f), splat(0.0f)};
#pragma GCC unroll 8
    for (int l = 0; l < kLanes; ++l) {
      m[0] += splat(queue.s[q][l]) * basis[l];
      m[1] += splat(queue.s[q + 1][l]) * basis[l];
    }
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      float* out = of_quadrant + queue.index[q + j] * kQuadrants * kLanes;
      store(out, load(out) + m[j]);
    }
  }
}

// The quadrants' moments of two splats that follow each other, to sums of s times 1, u, v, u^2, u v, v^2: a lane for
// each quadrant of the first, then of the second. Six numbers to out[0 ..] and six to out[8 ..].
inline void whiten(const LocalSplat* p, const float* moments, float* out) {
  vfloat m[kLanes];
  for (int k = 0; k < kLanes; ++k) m[k] = load(moments + k * kLanes);
  transpose(m);
  auto both = [](float first, float second) {
    return vfloat{first, first, first, first, second, second, second, second};
  };
  const vfloat centre_x = {4, 12, 4, 12, 4, 12, 4, 12}, centre_y = {4, 4, 12, 12, 4, 4, 12, 12};
  const vfloat dx = centre_x - both(p[0].x, p[1].x), dy = centre_y - both(p[0].y, p[1].y);
  const vfloat a = both(p[0].a, p[1].a), b = both(p[0].b, p[1].b), c = both(p[0].c, p[1].c), two = splat(2.0f);
  const vfloat u = a * dx + b * dy, v = c * dy;  // at the quadrant's centre
  const vfloat lean = a * m[1] + b * m[2], rise = c * m[2];
  const vfloat su = lean + u * m[0], sv = rise + v * m[0];
  const vfloat suu = a * (a * m[3] + two * b * m[4]) + b * b * m[5] + u * (lean + su);
  const vfloat suv = c * (a * m[4] + b * m[5]) + v * lean + u * sv;
  const vfloat svv = c * c * m[5] + v * (rise + sv);
  const vfloat sums[6] = {m[0], su, sv, suu, suv, svv};
  sums_of_halves(sums, out);
}

inline void scatter_channels(const BackwardQueue& queue, int stride, const float* by_pixel, float* gradients) {
  int base = 0;
  for (; base + 3 * kLanes <= stride; base += 3 * kLanes) scatter_vectors<3>(queue, stride, base, by_pixel, gradients);
  if (stride - base == 2 * kLanes) scatter_vectors<2>(queue, stride, base, by_pixel, gradients);
  if (stride - base == kLanes) scatter_vectors<1>(queue, stride, base, by_pixel, gradients);
}

// Record i of the segment to where its pair stands in the order of Gaussians.
inline void write_record(float* pairs, const int32_t* slots, int i, int n, const float* geometry,
                         const float* gradients, int stride) {
  constexpr int kLineFloats = 16, kNext = 6;
  const int row = kGeometry + stride;
  if (i + kNext < n) {
    const float* next = pairs + int64_t(slots[i + kNext]) * row;
    for (int k = 0; k < row; k += kLineFloats) __builtin_prefetch(next + k, 1);
  }
  float* out = pairs + int64_t(slots[i]) * row;
  store(out, load(geometry));
  for (int k = 0; k < stride; k += kLanes) store(out + kGeometry + k, load(gradients + i * stride + k));
}

}  // namespace

size_t backward_scratch(const Channels& channels) {
  return sizeof(BackwardScratch) + sizeof(float) * BackwardArrays::floats(channels);
}

void backward_tile(const BackwardTiles& job, int tile, void* memory) {
  auto& scratch = *static_cast<BackwardScratch*>(memory);
  const ForwardTiles& forward = job.forward;
  const Channels& channels = forward.channels;
  const int stride = channels.stride(), count = channels.count();
  const BackwardArrays arrays(&scratch + 1, stride);
  const TilePixels pixels(forward.view, tile);
  const int first = forward.lists.first[tile], last = forward.lists.first[tile + 1];
  if (first == last) return;

  uint32_t inside = 0;
  int tile_stop = 0;
  for (int block = 0; block < kBlocks; ++block) {
    const vint lanes = pixels.inside(block);
    if (!lane_bits(lanes)) continue;
    inside |= 1u << block;
    const int64_t at = int64_t(tile) * kTilePixels + block * kLanes;
    BackwardBlock& state = scratch.blocks[block];
    state.transmittance = load(forward.transmittance + at);
    state.stop = load(forward.stop + at) & lanes;
    state.last_stop = 0;
    for (int l = 0; l < kLanes; ++l)
      state.last_stop = state.stop[l] > state.last_stop ? state.stop[l] : state.last_stop;
    tile_stop = state.last_stop > tile_stop ? state.last_stop : tile_stop;
    load_pixel_gradients(job, pixels, block, arrays.by_channel + block * kLanes * stride,
                         arrays.by_pixel + block * kLanes * stride, state);
  }
  std::memset(arrays.records + kSegment * stride, 0, sizeof(float) * stride);

  for (int part = (last - first - 1) / kSegment; part >= 0; --part) {
    const int position = part * kSegment, begin = first + position;
    const int n = last - begin < kSegment ? last - begin : kSegment;
    std::memset(arrays.gradients, 0, sizeof(float) * n * stride);
    std::memset(arrays.moments, 0, sizeof(float) * n * kQuadrants * kLanes);
    if (position < tile_stop) {
      scratch.segment.load(
          forward.splats, forward.lists, false, pixels, begin, n, inside,
          [&](int32_t gaussian) { prefetch_channels(channels, gaussian); },
          [&](int i, int32_t gaussian, const Splat& splat) {
            gather_channels(channels, gaussian, splat, arrays.records + i * stride);
          });
      std::memset(arrays.records + kSegment * stride, 0, sizeof(float) * stride);
      for (uint32_t rest = inside; rest; rest &= rest - 1) {
        const int block = __builtin_ctz(rest);
        BackwardBlock& state = scratch.blocks[block];
        int from = scratch.segment.list_size[block];
        while (from > 0 && position + scratch.segment.lists[block][from - 1] >= state.last_stop) --from;
        while (from > 0) {
          from = alpha_run(scratch.segment, block, from, position, state, scratch.queue);
          dots(scratch.queue, arrays.records, stride, count, arrays.by_channel + block * kLanes * stride);
          walk_back(scratch.queue, state);
          scatter_geometry(scratch.queue, block, arrays.moments);
          scatter_channels(scratch.queue, stride, arrays.by_pixel + block * kLanes * stride, arrays.gradients);
        }
      }
    }
    alignas(32) float geometry[2][kLanes] = {};
    for (int i = 0; i < n; ++i) {
      if (position < tile_stop && i % 2 == 0)
        whiten(scratch.segment.splats + i, arrays.moments + i * kQuadrants * kLanes, geometry[0]);
      write_record(job.pairs, forward.lists.slot + begin, i, n, geometry[i % 2], arrays.gradients, stride);
    }
  }
}

}  // namespace cgc::CGC_ISA
