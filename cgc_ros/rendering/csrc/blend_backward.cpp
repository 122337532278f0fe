// Gradients of a tile, back to front. The transmittance is recovered by division, and what lies behind a Gaussian is one
// number a pixel: sum of w_j (c_j . dL/dC), since only its product with dL/dC matters.
#include "channels.h"
#include "kernels.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

struct BackwardBlock {
  vfloat transmittance;  // in front of what has been visited so far
  vfloat behind;         // gradient times what lies behind
  vint stop;
  int last_stop;
};

struct BackwardQueue {
  alignas(32) float alpha[kQueue][kLanes];      // 0 where the Gaussian is not blended
  alignas(32) float movable[kQueue][kLanes];    // alpha where it follows opacity and geometry, 0 where it is clamped
  alignas(32) float u[kQueue][kLanes];
  alignas(32) float v[kQueue][kLanes];
  alignas(32) float dot[kQueue][kLanes];        // channels . gradient of the pixel
  alignas(32) float weights[kQueue][kLanes];
  alignas(32) float s[kQueue][kLanes];          // alpha dL/dalpha
  int32_t index[kQueue];
  int size;
};

struct BackwardScratch {
  Segment segment;
  BackwardQueue queue;
  BackwardBlock blocks[kBlocks];
  // then floats: [kSegment, stride] channel records, [kSegment, 8 + stride] gradients,
  // [kBlocks, stride, 8] pixel gradients by channel, [kBlocks, 8, stride] the same by pixel
};

// Gradients of a block's pixels by channel and by pixel; where depth was normalised by alpha, that is undone here.
void load_pixel_gradients(const BackwardTiles& job, const TilePixels& pixels, int block, float* by_channel,
                          float* by_pixel, BackwardBlock& state) {
  const ForwardTiles& forward = job.forward;
  const Channels& channels = forward.channels;
  const int stride = channels.stride(), num_colors = channels.color_count(), num_features = channels.num_features;
  std::memset(by_pixel, 0, sizeof(float) * kLanes * stride);
  vfloat to_transmittance = splat(0.0f);
  for (int l = 0; l < kLanes; ++l) {
    if (!pixels.is_inside(block, l)) continue;
    const int64_t pixel = pixels.pixel(forward.view, block, l);
    float* out = by_pixel + l * stride;
    float v_transmittance = job.alpha ? -job.alpha[pixel] : 0.0f;
    if (job.color && num_colors) {
      for (int k = 0; k < 3; ++k) {
        out[k] = job.color[3 * pixel + k];
        if (forward.background) v_transmittance += forward.background[k] * out[k];
      }
    }
    if (job.features) std::memcpy(out + num_colors, job.features + pixel * num_features, num_features * sizeof(float));
    if (job.depth && channels.depths) {
      const float alpha = 1.0f - state.transmittance[l];
      if (alpha > 1e-10f) {
        const float v_sum = job.depth[pixel] / alpha;
        out[num_colors + num_features] = v_sum;
        v_transmittance += v_sum * forward.depth[pixel];
      }
    }
    to_transmittance[l] = v_transmittance;
  }
  state.behind = state.transmittance * to_transmittance;
  for (int base = 0; base < stride; base += kLanes) {
    vfloat rows[kLanes];
    for (int l = 0; l < kLanes; ++l) rows[l] = load(by_pixel + l * stride + base);
    transpose(rows);
    for (int k = 0; k < kLanes; ++k) store(by_channel + (base + k) * kLanes, rows[k]);
  }
}

// Alphas of list entries from - 1, from - 2, ...; returns where the next run ends.
int alpha_run(const Segment& segment, int block, int from, int position, const BackwardBlock& state,
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
    store(queue.u[n], u);
    store(queue.v[n], v);
    queue.index[n] = i;
    n += lane_bits(active) != 0;
  }
  queue.size = n;
  return end;
}

void dots(BackwardQueue& queue, const float* records, int stride, int count, const float* by_channel) {
  for (int q = 0; q < queue.size; ++q) {
    const float* record = records + queue.index[q] * stride;
    vfloat even = splat(0.0f), odd = splat(0.0f);
    int k = 0;
    for (; k + 1 < count; k += 2) {
      even += splat(record[k]) * load(by_channel + k * kLanes);
      odd += splat(record[k + 1]) * load(by_channel + (k + 1) * kLanes);
    }
    if (k < count) even += splat(record[k]) * load(by_channel + k * kLanes);
    store(queue.dot[q], even + odd);
  }
}

void walk_back(BackwardQueue& queue, BackwardBlock& state) {
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

void scatter_channels(const BackwardQueue& queue, int stride, const float* by_pixel, float* gradients) {
  for (int q = 0; q < queue.size; ++q) {
    float* out = gradients + queue.index[q] * (8 + stride) + 8;
    const float* weights = queue.weights[q];
    for (int base = 0; base < stride; base += kLanes) {
      vfloat g = load(out + base);
      for (int l = 0; l < kLanes; ++l) g += splat(weights[l]) * load(by_pixel + l * stride + base);
      store(out + base, g);
    }
  }
}

void scatter_geometry(const BackwardQueue& queue, int stride, float* gradients) {
  for (int q = 0; q < queue.size; ++q) {
    vfloat s = load(queue.s[q]), u = load(queue.u[q]), v = load(queue.v[q]);
    vfloat su = s * u, sv = s * v;
    const vfloat zero = splat(0.0f);
    const vfloat terms[kLanes] = {s, su, sv, su * u, su * v, sv * v, zero, zero};
    float* out = gradients + queue.index[q] * (8 + stride);
    store(out, load(out) + sums(terms));
  }
}

}  // namespace

size_t backward_scratch(const Channels& channels) {
  const size_t stride = channels.stride();
  return sizeof(BackwardScratch) +
         sizeof(float) * (kSegment * stride + kSegment * (8 + stride) + 2 * kBlocks * kLanes * stride);
}

void backward_tile(const BackwardTiles& job, int tile, void* memory) {
  auto& scratch = *static_cast<BackwardScratch*>(memory);
  const ForwardTiles& forward = job.forward;
  const Channels& channels = forward.channels;
  const int stride = channels.stride(), count = channels.count(), row = 8 + stride;
  float* records = reinterpret_cast<float*>(&scratch + 1);
  float* gradients = records + kSegment * stride;
  float* by_channel = gradients + kSegment * row;
  float* by_pixel = by_channel + kBlocks * kLanes * stride;
  const TilePixels pixels(forward.view, tile);
  const int64_t first = forward.lists.first[tile], last = forward.lists.first[tile + 1];
  if (first == last) return;

  uint32_t inside = 0;
  int tile_stop = 0;
  for (int block = 0; block < kBlocks; ++block) {
    const int64_t at = int64_t(tile) * kTilePixels + block * kLanes;
    BackwardBlock& state = scratch.blocks[block];
    vint lanes = pixels.inside(block);
    state.transmittance = load(forward.transmittance + at);
    state.stop = load(forward.stop + at) & lanes;
    state.last_stop = 0;
    for (int l = 0; l < kLanes; ++l) state.last_stop = state.stop[l] > state.last_stop ? state.stop[l] : state.last_stop;
    tile_stop = state.last_stop > tile_stop ? state.last_stop : tile_stop;
    if (!lane_bits(lanes)) continue;
    inside |= 1u << block;
    load_pixel_gradients(job, pixels, block, by_channel + block * kLanes * stride, by_pixel + block * kLanes * stride,
                         state);
  }

  const int num_segments = int((last - first + kSegment - 1) / kSegment);
  for (int part = num_segments - 1; part >= 0; --part) {
    const int position = part * kSegment;
    const int64_t begin = first + position;
    const int n = int(last - begin < kSegment ? last - begin : kSegment);
    std::memset(gradients, 0, sizeof(float) * n * row);
    if (position < tile_stop) {
      scratch.segment.load(forward.splats, forward.lists, pixels, begin, n, inside);
      gather_channels(channels, forward.lists.gaussian + begin, n, records);
      for (uint32_t rest = inside; rest; rest &= rest - 1) {
        const int block = __builtin_ctz(rest);
        BackwardBlock& state = scratch.blocks[block];
        int from = scratch.segment.list_size[block];
        while (from > 0 && position + scratch.segment.lists[block][from - 1] >= state.last_stop) --from;
        while (from > 0) {
          from = alpha_run(scratch.segment, block, from, position, state, scratch.queue);
          dots(scratch.queue, records, stride, count, by_channel + block * kLanes * stride);
          walk_back(scratch.queue, state);
          scatter_channels(scratch.queue, stride, by_pixel + block * kLanes * stride, gradients);
          scatter_geometry(scratch.queue, stride, gradients);
        }
      }
    }
    for (int i = 0; i < n; ++i) {
      if (i + 4 < n) __builtin_prefetch(job.pairs + int64_t(forward.lists.slot[begin + i + 4]) * job.stride, 1);
      std::memcpy(job.pairs + int64_t(forward.lists.slot[begin + i]) * job.stride, gradients + i * row,
                  sizeof(float) * row);
    }
  }
}

}  // namespace cgc::CGC_ISA
