// What can be asked of the blending weights themselves: weights at pixels, votes of a label image, the label of a view.
#include "kernels.h"
#include "tile_segment.h"

namespace cgc::CGC_ISA {
namespace {

template <class T>
T* reserve(GrowingBuffer& buffer, size_t count) {
  if (buffer.capacity < count * sizeof(T)) buffer.grow(count * sizeof(T));
  return static_cast<T*>(buffer.data);
}

struct QueryScratch {
  Segment segment;
  Queue queue;
  BlockState blocks[kBlocks];

  uint32_t start(const TilePixels& pixels) {
    uint32_t live = 0;
    for (int block = 0; block < kBlocks; ++block) {
      vint inside = pixels.inside(block);
      blocks[block].start(inside);
      live |= uint32_t(lane_bits(inside) != 0) << block;
    }
    return live;
  }
};

// Runs a tile's lists through `take(block, queue, position of the segment)`, for the blocks of `live` alone.
template <class Take>
void run_tile(const View& view, const Splat* splats, const TileLists& lists, int tile, uint32_t live,
              QueryScratch& scratch, Take take) {
  const TilePixels pixels(view, tile);
  const int first = lists.first[tile], last = lists.first[tile + 1];
  for (int begin = first; begin < last && live; begin += kSegment) {
    const int n = last - begin < kSegment ? last - begin : kSegment;
    scratch.segment.load(
        splats, lists, true, pixels, begin, n, live, [](int32_t) {}, [](int, int32_t, const Splat&) {});
    for (uint32_t rest = live; rest; rest &= rest - 1) {
      const int block = __builtin_ctz(rest);
      const int size = scratch.segment.list_size[block];
      for (int from = 0; from < size;) {
        from = blend_run(scratch.segment, block, from, begin - first, scratch.blocks[block], scratch.queue);
        take(block, scratch.queue, begin);
      }
      if (!lane_bits(scratch.blocks[block].live)) live &= ~(1u << block);
    }
  }
}

}  // namespace

int64_t weights_tile(const WeightTiles& job, int tile, GrowingBuffer& memory, GrowingBuffer& entries, int64_t used,
                     int32_t* counts) {
  const int64_t length = job.lists.first[tile + 1] - job.lists.first[tile];
  const uint8_t* wanted = job.wanted + int64_t(tile) * kTilePixels;
  std::memset(counts, 0, sizeof(int32_t) * kTilePixels);
  uint32_t blocks = 0;
  for (int i = 0; i < kTilePixels; ++i) blocks |= uint32_t(wanted[i] != 0) << (i / kLanes);

  // Each block's queues are kept whole, then read out pixel by pixel.
  const int num_blocks = __builtin_popcount(blocks);
  const size_t kept = size_t(num_blocks) * length;
  auto& scratch = *reinterpret_cast<QueryScratch*>(
      reserve<char>(memory, sizeof(QueryScratch) + kept * (sizeof(float) * kLanes + sizeof(int32_t))));
  float* weights = reinterpret_cast<float*>(&scratch + 1);
  auto* gaussians = reinterpret_cast<int32_t*>(weights + kept * kLanes);
  int64_t sizes[kBlocks] = {};
  const uint32_t inside = scratch.start(TilePixels(job.view, tile));
  auto row_of = [&](int block) { return __builtin_popcount(blocks & ((1u << block) - 1)) * length; };
  run_tile(job.view, job.splats, job.lists, tile, blocks & inside, scratch,
           [&](int block, const Queue& queue, int begin) {
             const int64_t at = row_of(block) + sizes[block];
             std::memcpy(weights + at * kLanes, queue.weights, sizeof(float) * kLanes * queue.size);
             for (int k = 0; k < queue.size; ++k) gaussians[at + k] = job.lists.gaussian[begin + queue.index[k]];
             sizes[block] += queue.size;
           });
  const int64_t before = used;
  for (int i = 0; i < kTilePixels; ++i) {
    if (!wanted[i]) continue;
    const int block = i / kLanes, lane = i % kLanes;
    auto* out = reserve<WeightEntry>(entries, size_t(used + sizes[block]));
    const int64_t from = used, row = row_of(block);
    for (int64_t k = row; k < row + sizes[block]; ++k) {
      const float weight = weights[k * kLanes + lane];
      out[used] = {gaussians[k], weight};
      used += weight > 0.0f;
    }
    counts[i] = int32_t(used - from);
  }
  return used - before;
}

namespace {

// A tile's object ids, numbered in the order they are met.
struct LocalIds {
  static constexpr uint32_t kSlots = 1024;  // first probe; the list of ids is searched when the table is crowded
  int32_t keys[kSlots];
  int32_t values[kSlots];
  int count;

  void clear() {
    count = 0;
    std::memset(values, -1, sizeof values);
  }
  int find_or_add(int32_t id, int32_t* ids) {
    const uint32_t slot = (uint32_t(id) * 2654435761u) >> 22;
    if (values[slot] >= 0 && keys[slot] == id) return values[slot];
    if (values[slot] < 0) {
      keys[slot] = id, values[slot] = count;
      ids[count] = id;
      return count++;
    }
    for (int k = 0; k < count; ++k)
      if (ids[k] == id) return k;
    ids[count] = id;
    return count++;
  }
};

}  // namespace

void labels_tile(const LabelTiles& job, int tile, GrowingBuffer& memory) {
  const TilePixels pixels(job.view, tile);
  const int64_t first = job.lists.first[tile], length = job.lists.first[tile + 1] - first;
  // Ids first, since the accumulators are one vector for each.
  const size_t head = sizeof(QueryScratch) + sizeof(LocalIds) + size_t(2 * length + 8) * sizeof(int32_t);
  reserve<char>(memory, head);
  auto* table = reinterpret_cast<LocalIds*>(static_cast<char*>(memory.data) + sizeof(QueryScratch));
  table->clear();
  auto* ids = reinterpret_cast<int32_t*>(table + 1);
  int32_t* local = ids + length;
  for (int64_t k = 0; k < length; ++k) {
    const int32_t id = job.object_ids[job.lists.gaussian[first + k]];
    local[k] = id < 0 ? -1 : table->find_or_add(id, ids);
  }
  const int count = table->count, row = count + 1;  // the last one sums depth
  const size_t aligned = (head + 63) / 64 * 64;
  char* base = reserve<char>(memory, aligned + size_t(kBlocks) * row * sizeof(vfloat));
  auto& scratch = *reinterpret_cast<QueryScratch*>(base);
  ids = reinterpret_cast<int32_t*>(base + sizeof(QueryScratch) + sizeof(LocalIds));
  local = ids + length;
  float* weights = reinterpret_cast<float*>(base + aligned);
  std::memset(weights, 0, size_t(kBlocks) * row * sizeof(vfloat));

  const uint32_t inside = scratch.start(pixels);
  run_tile(job.view, job.splats, job.lists, tile, inside, scratch, [&](int block, const Queue& queue, int64_t begin) {
    float* rows = weights + size_t(block) * row * kLanes;
    float* depth_row = rows + size_t(count) * kLanes;
    vfloat depth = load(depth_row);
    for (int k = 0; k < queue.size; ++k) {
      const int64_t at = begin + queue.index[k];
      vfloat weight = load(queue.weights[k]);
      depth += weight * splat(job.splats[job.lists.gaussian[at]].depth);
      const int32_t label = local[at - first];
      if (label >= 0) store(rows + label * kLanes, load(rows + label * kLanes) + weight);
    }
    store(depth_row, depth);
  });
  for (uint32_t rest = inside; rest; rest &= rest - 1) {
    const int block = __builtin_ctz(rest);
    const float* rows = weights + size_t(block) * row * kLanes;
    vfloat best = splat(0.0f);
    vint label = splat(-1);
    for (int k = 0; k < count; ++k) {
      vfloat weight = load(rows + k * kLanes);
      vint better = weight > best;
      best = select(better, weight, best);
      label = select(better, splat(ids[k]), label);
    }
    vfloat alpha = splat(1.0f) - scratch.blocks[block].transmittance;
    vfloat depth = load(rows + size_t(count) * kLanes) / max(alpha, splat(1e-10f));
    for (int l = 0; l < kLanes; ++l) {
      if (!pixels.is_inside(block, l)) continue;
      const int64_t pixel = pixels.pixel(job.view, block, l);
      job.labels[pixel] = label[l];
      job.confidence[pixel] = best[l];
      job.depth[pixel] = depth[l];
    }
  }
}

void votes_tile(const VoteTiles& job, int tile, GrowingBuffer& memory) {
  auto& scratch = *reinterpret_cast<QueryScratch*>(reserve<char>(memory, sizeof(QueryScratch)));
  const int16_t* labels = job.local_labels + int64_t(tile) * kTilePixels;
  const int64_t first = job.lists.first[tile], length = job.lists.first[tile + 1] - first;
  const int count = job.num_local[tile];
  if (!count || !length) return;
  float* votes = job.votes + job.first_vote[tile];
  std::memset(votes, 0, sizeof(float) * size_t(length) * count);
  uint32_t live = scratch.start(TilePixels(job.view, tile)), uniform = 0;
  for (uint32_t rest = live; rest; rest &= rest - 1) {
    const int block = __builtin_ctz(rest);
    const int16_t* mine = labels + block * kLanes;
    bool voting = false, same = true;
    for (int l = 0; l < kLanes; ++l) voting |= mine[l] >= 0, same &= mine[l] == mine[0];
    if (!voting) live &= ~(1u << block);
    uniform |= uint32_t(same) << block;
  }
  run_tile(job.view, job.splats, job.lists, tile, live, scratch, [&](int block, const Queue& queue, int64_t begin) {
    const int16_t* mine = labels + block * kLanes;
    for (int k = 0; k < queue.size; ++k) {
      float* out = votes + (begin + queue.index[k] - first) * count;
      if (uniform >> block & 1) {
        out[mine[0]] += sum(load(queue.weights[k]));
      } else {
        for (int l = 0; l < kLanes; ++l)
          if (mine[l] >= 0) out[mine[l]] += queue.weights[k][l];
      }
    }
  });
}

}  // namespace cgc::CGC_ISA
