// Projection, order by depth, lists of tiles.
#include <algorithm>
#include <cstring>
#include <new>

#include "rasterizer.h"
#include "thread_pool.h"

namespace cgc {

GrowingBuffer::~GrowingBuffer() { ::operator delete(data, std::align_val_t(64)); }

void GrowingBuffer::grow(size_t bytes) {
  bytes = std::max(bytes, capacity + capacity / 2);
  void* larger = ::operator new(bytes, std::align_val_t(64));
  if (capacity) std::memcpy(larger, data, capacity);
  ::operator delete(data, std::align_val_t(64));
  data = larger, capacity = bytes;
}

namespace {

struct DepthKey {
  uint32_t depth;  // bits of a positive float order like the float
  int32_t gaussian;
};

// Stable least-significant-digit radix sort by depth; ties stay in the order of indices.
void sort_by_depth(Array<DepthKey>& keys) {
  constexpr int kDigit = 11, kBuckets = 1 << kDigit;
  const size_t n = keys.size();
  Array<DepthKey> other(n);
  std::vector<uint32_t> counts(3 * kBuckets, 0);
  for (size_t i = 0; i < n; ++i)
    for (int pass = 0; pass < 3; ++pass) ++counts[pass * kBuckets + (keys[i].depth >> (pass * kDigit)) % kBuckets];
  for (int pass = 0; pass < 3; ++pass) {
    uint32_t* count = &counts[pass * kBuckets];
    uint32_t sum = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const uint32_t c = count[b];
      count[b] = sum, sum += c;
    }
    for (size_t i = 0; i < n; ++i) other[count[(keys[i].depth >> (pass * kDigit)) % kBuckets]++] = keys[i];
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

ProjectedView::ProjectedView(const View& view, const Gaussians& gaussians, int threads) : view_(view) {
  const int64_t n = gaussians.count;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  splats_.reset(n), depths_.reset(n), radii_.reset(n), first_slot_.reset(n + 1);
  Array<int32_t> tiles_of(n);
  const Projection job{view, gaussians, splats_.data(), depths_.data(), radii_.data(), tiles_of.data()};
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
  Array<int32_t> slot_tile(num_pairs);
  parallel_for(chunks, threads, [&](int64_t c, int) {
    int64_t slot = chunk_pairs[c];
    const int64_t end = c + 1 < chunks ? chunk_pairs[c + 1] : num_pairs;
    if (end > slot) std::memcpy(slot_tile.data() + slot, chunk_tiles[c].data, (end - slot) * sizeof(int32_t));
    for (int64_t i = c * kChunk; i < std::min(n, (c + 1) * kChunk); ++i) first_slot_[i] = slot, slot += tiles_of[i];
  });
  first_slot_[n] = num_pairs;
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
    std::memcpy(&depth, &depths_[i], sizeof depth);
    order[at++] = {depth, int32_t(i)};
  }
  sort_by_depth(order);

  const int tiles = num_tiles();
  tile_first_.reset(tiles + 1);
  std::vector<int64_t> next(tiles + 1, 0);
  for (int64_t slot = 0; slot < num_pairs; ++slot) ++next[slot_tile[slot] + 1];
  for (int t = 0; t < tiles; ++t) next[t + 1] += next[t];
  std::copy(next.begin(), next.end(), tile_first_.data());
  pair_gaussian_.reset(num_pairs), pair_slot_.reset(num_pairs), pair_blocks_.reset(num_pairs);
  for (int64_t v = 0; v < visible; ++v) {
    const int32_t g = order[v].gaussian;
    for (int64_t slot = first_slot_[g]; slot < first_slot_[g + 1]; ++slot) {
      const int64_t at = next[slot_tile[slot]]++;
      pair_gaussian_[at] = g;
      pair_slot_[at] = int32_t(slot);
    }
  }
  const KernelTable& k = kernels();
  parallel_for(tiles, threads,
               [&](int64_t tile, int) { k.find_blocks(splats_.data(), lists(), view_.tiles_x(), int(tile)); });
}

size_t ProjectedView::bytes() const {
  return splats_.bytes() + depths_.bytes() + radii_.bytes() + first_slot_.bytes() + tile_first_.bytes() +
         pair_gaussian_.bytes() + pair_slot_.bytes() + pair_blocks_.bytes();
}

}  // namespace cgc
