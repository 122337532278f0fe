// Projection, order by depth, lists of tiles.
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

// Stable least-significant-digit radix sort by depth; ties stay in the order of indices. Depths of one view differ in few of
// their high bits, which are not sorted by.
void sort_by_depth(Array<DepthKey>& keys) {
  const size_t n = keys.size();
  uint32_t low = UINT32_MAX, high = 0;
  for (size_t i = 0; i < n; ++i) low = std::min(low, keys[i].depth), high = std::max(high, keys[i].depth);
  int bits = 0;
  while (n && bits < 32 && (high - low) >> bits) ++bits;
  constexpr int kDigit = 13, kBuckets = 1 << kDigit;
  const int passes = (bits + kDigit - 1) / kDigit;
  Array<DepthKey> other(n);
  std::vector<uint32_t> counts(size_t(passes) * kBuckets, 0);
  for (size_t i = 0; i < n; ++i)
    for (int pass = 0; pass < passes; ++pass) ++counts[pass * kBuckets + ((keys[i].depth - low) >> (pass * kDigit)) % kBuckets];
  for (int pass = 0; pass < passes; ++pass) {
    uint32_t* count = &counts[size_t(pass) * kBuckets];
    uint32_t sum = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const uint32_t c = count[b];
      count[b] = sum, sum += c;
    }
    for (size_t i = 0; i < n; ++i) other[count[((keys[i].depth - low) >> (pass * kDigit)) % kBuckets]++] = keys[i];
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
  const int64_t n = gaussians.count;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  splats_.reset(n), radii_.reset(n), first_slot_.reset(n + 1);
  Array<int32_t> tiles_of(n);
  const Projection job{view, gaussians, colors, splats_.data(), radii_.data(), tiles_of.data()};
  std::vector<GrowingBuffer> chunk_tiles(chunks);
  std::vector<int64_t> chunk_pairs(chunks);
  const KernelTable& k = kernels();
  parallel_for(chunks, threads, [&](int64_t c, int) {
    chunk_pairs[c] = k.project(job, c * kChunk, std::min(n, (c + 1) * kChunk), chunk_tiles[c]);
  });

  int64_t num_pairs = 0;
  for (int64_t& pairs : chunk_pairs) {
    const int64_t first = num_pairs;
    num_pairs += pairs;
    pairs = first;
  }
  if (num_pairs > INT32_MAX) throw std::length_error("more than 2^31 pairs of Gaussians and tiles: use a smaller image or map");
  Array<int32_t> slot_tile(num_pairs);
  parallel_for(chunks, threads, [&](int64_t c, int) {
    int64_t slot = chunk_pairs[c];
    const int64_t end = c + 1 < chunks ? chunk_pairs[c + 1] : num_pairs;
    if (end > slot) std::memcpy(slot_tile.data() + slot, chunk_tiles[c].data, (end - slot) * sizeof(int32_t));
    for (int64_t i = c * kChunk; i < std::min(n, (c + 1) * kChunk); ++i) first_slot_[i] = int32_t(slot), slot += tiles_of[i];
  });
  first_slot_[n] = int32_t(num_pairs);
  sort_into_tiles(slot_tile.data(), threads);
}

void ProjectedView::sort_into_tiles(const int32_t* slot_tile, int threads) {
  const int64_t n = int64_t(radii_.size()), num_pairs = first_slot_[n];
  int64_t visible = 0;
  for (int64_t i = 0; i < n; ++i) visible += first_slot_[i + 1] > first_slot_[i];
  Array<DepthKey> order(visible);
  for (int64_t i = 0, at = 0; i < n; ++i) {
    if (first_slot_[i + 1] == first_slot_[i]) continue;
    uint32_t depth;
    std::memcpy(&depth, &splats_[i].depth, sizeof depth);
    order[at++] = {depth, int32_t(i)};
  }
  sort_by_depth(order);

  const int tiles = num_tiles();
  tile_first_.reset(tiles + 1);
  std::vector<int32_t> next(tiles + 1, 0);
  for (int64_t slot = 0; slot < num_pairs; ++slot) ++next[slot_tile[slot] + 1];
  for (int t = 0; t < tiles; ++t) next[t + 1] += next[t];
  std::copy(next.begin(), next.end(), tile_first_.data());
  pair_gaussian_.reset(num_pairs), pair_slot_.reset(num_pairs), pair_blocks_.reset(num_pairs);
  for (int64_t v = 0; v < visible; ++v) {
    constexpr int64_t kNext = 16;
    if (v + kNext < visible) __builtin_prefetch(&first_slot_[order[v + kNext].gaussian]);
    const int32_t g = order[v].gaussian;
    for (int64_t slot = first_slot_[g]; slot < first_slot_[g + 1]; ++slot) {
      const int64_t at = next[slot_tile[slot]]++;
      pair_gaussian_[at] = g;
      pair_slot_[at] = int32_t(slot);
    }
  }
  (void)threads;
}

size_t ProjectedView::bytes() const {
  return splats_.bytes() + radii_.bytes() + first_slot_.bytes() + tile_first_.bytes() +
         pair_gaussian_.bytes() + pair_slot_.bytes() + pair_blocks_.bytes();
}

}  // namespace cgc
