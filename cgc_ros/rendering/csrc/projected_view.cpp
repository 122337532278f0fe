// Projection, order by depth, lists of tiles. Sorting is stable throughout, so results do not depend on how work is
// cut.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "rasterizer.h"
#include "thread_pool.h"

namespace cgc {
namespace {

struct DepthKey {
  uint32_t depth;  // bits of a positive float order like the float
  int32_t gaussian;
};

// Contiguous parts of [0, count), one for each thread where there is enough to do.
struct Parts {
  int64_t count;
  int number;
  Parts(int64_t count, int threads)
      : count(count), number(int(std::clamp<int64_t>(count / 4096, 1, std::min(threads, 16)))) {}
  int64_t begin(int64_t part) const { return count * part / number; }
  int64_t end(int64_t part) const { return begin(part + 1); }
};

// counts[part][bucket] become the places where a part's items of a bucket start.
void to_starts(std::vector<uint32_t>& counts, int parts, int buckets) {
  uint32_t sum = 0;
  for (int b = 0; b < buckets; ++b) {
    for (int p = 0; p < parts; ++p) {
      uint32_t& count = counts[size_t(p) * buckets + b];
      const uint32_t c = count;
      count = sum, sum += c;
    }
  }
}

// Least-significant-digit radix sort by depth; ties stay in the order of indices. Depths of one view differ in few of
// their high bits, which are not sorted by: two passes as a rule.
void sort_by_depth(Array<DepthKey>& keys, uint32_t low, uint32_t high, int threads) {
  constexpr int kDigit = 13, kBuckets = 1 << kDigit;
  int bits = 0;
  while (bits < 32 && (high - low) >> bits) ++bits;
  const Parts parts(int64_t(keys.size()), threads);
  Array<DepthKey> other(keys.size());
  std::vector<uint32_t> counts;
  for (int shift = 0; shift < bits; shift += kDigit) {
    counts.assign(size_t(parts.number) * kBuckets, 0);
    auto bucket = [&](const DepthKey& key) { return ((key.depth - low) >> shift) % kBuckets; };
    parallel_for(parts.number, threads, [&](int64_t part, int) {
      uint32_t* count = &counts[size_t(part) * kBuckets];
      for (int64_t i = parts.begin(part); i < parts.end(part); ++i) ++count[bucket(keys[i])];
    });
    to_starts(counts, parts.number, kBuckets);
    parallel_for(parts.number, threads, [&](int64_t part, int) {
      uint32_t* next = &counts[size_t(part) * kBuckets];
      for (int64_t i = parts.begin(part); i < parts.end(part); ++i) other[next[bucket(keys[i])]++] = keys[i];
    });
    std::swap(keys, other);
  }
}

}  // namespace

int64_t tile_order(const View& view, int64_t pixel) {
  const int x = int(pixel % view.width), y = int(pixel / view.width);
  const int tile = y / kTile * view.tiles_x() + x / kTile;
  const int block = y % kTile / kBlockHeight * (kTile / kBlockWidth) + x % kTile / kBlockWidth;
  const int lane = y % kBlockHeight * kBlockWidth + x % kBlockWidth;
  return int64_t(tile) * kTilePixels + block * (kTilePixels / kBlocks) + lane;
}

ProjectedView::ProjectedView(const View& view, const Gaussians& gaussians, const float* colors, int threads)
    : view_(view) {
  struct Chunk {
    GrowingBuffer tiles;  // of its Gaussians, one after the other
    int64_t pairs = 0, visible = 0;
    uint32_t low = UINT32_MAX, high = 0;  // depths
  };
  const int64_t n = gaussians.count;
  const int64_t num_chunks = (n + kChunk - 1) / kChunk;
  auto chunk_end = [&](int64_t c) { return std::min(n, (c + 1) * kChunk); };
  splats_.reset(n), radii_.reset(n), first_slot_.reset(n + 1);
  Array<int32_t> tiles_of(n);
  const Projection job{view, gaussians, colors, splats_.data(), radii_.data(), tiles_of.data()};
  std::vector<Chunk> chunks(num_chunks);
  auto depth_of = [&](int64_t i) {
    uint32_t depth;
    std::memcpy(&depth, &splats_[i].depth, sizeof depth);
    return depth;
  };
  const KernelTable& k = kernels();
  parallel_for(num_chunks, threads, [&](int64_t c, int) {
    Chunk& chunk = chunks[c];
    chunk.pairs = k.project(job, c * kChunk, chunk_end(c), chunk.tiles);
    for (int64_t i = c * kChunk; i < chunk_end(c); ++i) {
      if (!tiles_of[i]) continue;
      ++chunk.visible;
      chunk.low = std::min(chunk.low, depth_of(i)), chunk.high = std::max(chunk.high, depth_of(i));
    }
  });

  int64_t num_pairs = 0, visible = 0;
  uint32_t low = UINT32_MAX, high = 0;
  for (Chunk& chunk : chunks) {  // counts become starts
    std::swap(num_pairs, chunk.pairs), num_pairs += chunk.pairs;
    std::swap(visible, chunk.visible), visible += chunk.visible;
    low = std::min(low, chunk.low), high = std::max(high, chunk.high);
  }
  if (num_pairs > INT32_MAX)
    throw std::length_error("more than 2^31 pairs of Gaussians and tiles: use a smaller image or fewer Gaussians");
  Array<int32_t> slot_tile(num_pairs);
  Array<DepthKey> order(visible);
  parallel_for(num_chunks, threads, [&](int64_t c, int) {
    const Chunk& chunk = chunks[c];
    int64_t slot = chunk.pairs, at = chunk.visible;
    for (int64_t i = c * kChunk; i < chunk_end(c); ++i) {
      first_slot_[i] = int32_t(slot);
      slot += tiles_of[i];
      if (tiles_of[i]) order[at++] = {depth_of(i), int32_t(i)};
    }
    if (slot > chunk.pairs)
      std::memcpy(slot_tile.data() + chunk.pairs, chunk.tiles.data, (slot - chunk.pairs) * sizeof(int32_t));
  });
  first_slot_[n] = int32_t(num_pairs);
  if (visible) sort_by_depth(order, low, high, threads);

  // Pairs go to their tiles in the order of depth: each part counts, then writes after those of the parts before it.
  const int tiles = num_tiles();
  const Parts parts(visible, threads);
  std::vector<uint32_t> places(size_t(parts.number) * tiles, 0);
  auto for_pairs = [&](int64_t part, auto body) {
    constexpr int64_t kAhead = 16;
    for (int64_t v = parts.begin(part); v < parts.end(part); ++v) {
      if (v + kAhead < visible) __builtin_prefetch(&first_slot_[order[v + kAhead].gaussian]);
      const int32_t g = order[v].gaussian;
      for (int32_t slot = first_slot_[g]; slot < first_slot_[g + 1]; ++slot) body(g, slot);
    }
  };
  parallel_for(parts.number, threads, [&](int64_t part, int) {
    uint32_t* count = &places[size_t(part) * tiles];
    if (parts.number == 1) {  // any order will do: the one in memory is quicker
      for (int64_t slot = 0; slot < num_pairs; ++slot) ++count[slot_tile[slot]];
    } else {
      for_pairs(part, [&](int32_t, int32_t slot) { ++count[slot_tile[slot]]; });
    }
  });
  to_starts(places, parts.number, tiles);
  tile_first_.reset(tiles + 1);
  for (int t = 0; t < tiles; ++t) tile_first_[t] = int32_t(places[t]);
  tile_first_[tiles] = int32_t(num_pairs);
  pair_gaussian_.reset(num_pairs), pair_slot_.reset(num_pairs), pair_blocks_.reset(num_pairs);
  parallel_for(parts.number, threads, [&](int64_t part, int) {
    uint32_t* next = &places[size_t(part) * tiles];
    for_pairs(part, [&](int32_t g, int32_t slot) {
      const uint32_t at = next[slot_tile[slot]]++;
      pair_gaussian_[at] = g, pair_slot_[at] = slot;
    });
  });
}

size_t ProjectedView::bytes() const {
  return splats_.bytes() + radii_.bytes() + first_slot_.bytes() + tile_first_.bytes() + pair_gaussian_.bytes() +
         pair_slot_.bytes() + pair_blocks_.bytes();
}

}  // namespace cgc
