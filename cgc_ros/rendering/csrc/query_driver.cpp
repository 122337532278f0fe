// Queries of the weights, and the photometric loss, over threads.
#include <algorithm>
#include <cstring>

#include "rasterizer.h"
#include "thread_pool.h"

namespace cgc {
PixelWeights pixel_weights(const View& view, const Gaussians& gaussians, const int64_t* pixels, int64_t num_pixels,
                           int threads) {
  const ProjectedView projected(view, gaussians, nullptr, threads);
  const int tiles = projected.num_tiles();
  std::vector<uint8_t> wanted(size_t(tiles) * kTilePixels, 0);
  std::vector<uint8_t> tile_wanted(tiles, 0);
  for (int64_t p = 0; p < num_pixels; ++p) {
    const int64_t at = tile_order(view, pixels[p]);
    wanted[at] = 1, tile_wanted[at / kTilePixels] = 1;
  }
  // Each worker fills a buffer of its own; where a tile's entries went is noted.
  const KernelTable& k = kernels();
  const WeightTiles job{view, projected.splats(), projected.lists(), wanted.data()};
  std::vector<GrowingBuffer> scratch(threads), entries(threads);
  std::vector<int64_t> used(threads, 0);
  std::vector<int> tile_worker(tiles, 0);
  std::vector<int64_t> first(size_t(tiles) * kTilePixels);
  std::vector<int32_t> counts(size_t(tiles) * kTilePixels);
  parallel_for(tiles, threads, [&](int64_t tile, int worker) {
    if (!tile_wanted[tile]) return;
    int32_t* tile_counts = &counts[tile * kTilePixels];
    int64_t at = used[worker];
    used[worker] += k.weights_tile(job, int(tile), scratch[worker], entries[worker], used[worker], tile_counts);
    tile_worker[tile] = worker;
    for (int i = 0; i < kTilePixels; ++i) first[tile * kTilePixels + i] = at, at += tile_counts[i];
  });
  PixelWeights out;
  out.offsets.resize(num_pixels + 1);
  out.offsets[0] = 0;
  for (int64_t p = 0; p < num_pixels; ++p) out.offsets[p + 1] = out.offsets[p] + counts[tile_order(view, pixels[p])];
  out.gaussians.reset(out.offsets[num_pixels]), out.values.reset(out.offsets[num_pixels]);
  constexpr int64_t kPixels = 4096;
  parallel_for((num_pixels + kPixels - 1) / kPixels, threads, [&](int64_t part, int) {
    for (int64_t p = part * kPixels; p < std::min(num_pixels, (part + 1) * kPixels); ++p) {
      const int64_t at = tile_order(view, pixels[p]);
      const auto* from = static_cast<const WeightEntry*>(entries[tile_worker[at / kTilePixels]].data) + first[at];
      for (int64_t i = 0; i < counts[at]; ++i) {
        out.gaussians[out.offsets[p] + i] = from[i].gaussian;
        out.values[out.offsets[p] + i] = from[i].weight;
      }
    }
  });
  return out;
}

void mask_votes(const View& view, const Gaussians& gaussians, const int32_t* labels, int num_labels, float* votes,
                int threads) {
  const ProjectedView projected(view, gaussians, nullptr, threads);
  const int tiles = projected.num_tiles();
  // Few labels meet in a tile: it counts them under numbers of its own.
  std::vector<int16_t> local(size_t(tiles) * kTilePixels, -1);
  std::vector<int32_t> global(size_t(tiles) * kTilePixels);
  std::vector<int32_t> num_local(tiles, 0);
  parallel_for(tiles, threads, [&](int64_t tile, int) {
    const int x0 = int(tile) % view.tiles_x() * kTile, y0 = int(tile) / view.tiles_x() * kTile;
    int32_t* ids = &global[tile * kTilePixels];
    int count = 0, previous = 0;
    for (int y = y0; y < std::min(y0 + kTile, view.height); ++y) {
      for (int x = x0; x < std::min(x0 + kTile, view.width); ++x) {
        const int64_t pixel = int64_t(y) * view.width + x;
        const int32_t label = labels[pixel];
        if (label < 0 || label >= num_labels) continue;
        int at = previous;
        if (at >= count || ids[at] != label) at = int(std::find(ids, ids + count, label) - ids);
        if (at == count) ids[count++] = label;
        local[tile_order(view, pixel)] = int16_t(at);
        previous = at;
      }
    }
    num_local[tile] = count;
  });
  const TileLists lists = projected.lists();
  std::vector<int64_t> first_vote(tiles + 1, 0);
  for (int t = 0; t < tiles; ++t)
    first_vote[t + 1] = first_vote[t] + int64_t(lists.first[t + 1] - lists.first[t]) * num_local[t];
  Array<float> tile_votes(first_vote[tiles]);
  const VoteTiles job{
      view, projected.splats(), lists, local.data(), num_local.data(), first_vote.data(), tile_votes.data()};
  std::vector<GrowingBuffer> scratch(threads);
  const KernelTable& k = kernels();
  parallel_for(tiles, threads, [&](int64_t tile, int worker) { k.votes_tile(job, int(tile), scratch[worker]); });
  // A Gaussian's votes are gathered from its tiles: where each of its pairs stands is noted by slot.
  struct Place {
    int32_t tile, pair;
  };
  Array<Place> places(lists.first[tiles]);
  parallel_for(tiles, threads, [&](int64_t tile, int) {
    for (int32_t p = lists.first[tile]; p < lists.first[tile + 1]; ++p) places[lists.slot[p]] = {int32_t(tile), p};
  });
  const int32_t* first_slot = projected.first_slot();
  const int64_t chunks = (gaussians.count + kChunk - 1) / kChunk;
  parallel_for(chunks, threads, [&](int64_t c, int) {
    for (int64_t i = c * kChunk; i < std::min(gaussians.count, (c + 1) * kChunk); ++i) {
      float* out = votes + i * num_labels;
      for (int32_t slot = first_slot[i]; slot < first_slot[i + 1]; ++slot) {
        const auto [tile, pair] = places[slot];
        const int labels_here = num_local[tile];
        const float* from = tile_votes.data() + first_vote[tile] + int64_t(pair - lists.first[tile]) * labels_here;
        const int32_t* ids = &global[size_t(tile) * kTilePixels];
        for (int l = 0; l < labels_here; ++l) out[ids[l]] += from[l];
      }
    }
  });
}

void label_image(const View& view, const Gaussians& gaussians, const int32_t* object_ids, int32_t* labels,
                 float* confidence, float* depth, int threads) {
  const ProjectedView projected(view, gaussians, nullptr, threads);
  const LabelTiles job{view, projected.splats(), projected.lists(), object_ids, labels, confidence, depth};
  std::vector<GrowingBuffer> scratch(threads);
  const KernelTable& k = kernels();
  parallel_for(projected.num_tiles(), threads,
               [&](int64_t tile, int worker) { k.labels_tile(job, int(tile), scratch[worker]); });
}

void blend_values(const int64_t* offsets, const int32_t* gaussians, const float* weights, int64_t num_pixels,
                  const float* values, int channels, float* out, int threads) {
  constexpr int64_t kPixels = 256;
  const SparseBlend job{offsets, gaussians, weights, num_pixels, channels};
  const KernelTable& k = kernels();
  parallel_for((num_pixels + kPixels - 1) / kPixels, threads, [&](int64_t part, int) {
    k.blend_pixels(job, values, part * kPixels, std::min(num_pixels, (part + 1) * kPixels), out);
  });
}

void blend_values_backward(const int64_t* offsets, const int32_t* gaussians, const float* weights, int64_t num_pixels,
                           const float* gradient, int channels, float* out, int64_t count, int threads) {
  // Each part owns a range of Gaussians and reads all entries: no two threads write to one row.
  const SparseBlend job{offsets, gaussians, weights, num_pixels, channels};
  const int64_t parts = std::max(1, threads);
  const KernelTable& k = kernels();
  parallel_for(parts, threads, [&](int64_t part, int) {
    k.blend_gaussians(job, gradient, count * part / parts, count * (part + 1) / parts, out);
  });
}

double photometric_loss(int width, int height, const float* rendered, const float* target, const uint8_t* mask,
                        float ssim_weight, float* gradient, int threads) {
  int64_t pixels = int64_t(width) * height;
  if (mask) pixels = pixels - std::count(mask, mask + pixels, uint8_t(0));
  const double values = std::max<double>(1.0, 3.0 * double(pixels));
  Array<float> derivatives(size_t(9) * width * height);
  const SsimImages job{width,
                       height,
                       rendered,
                       target,
                       mask,
                       float(-ssim_weight / values),
                       float((1.0f - ssim_weight) / values),
                       derivatives.data(),
                       gradient};
  constexpr int kRows = 40;
  const int bands = (height + kRows - 1) / kRows;
  std::vector<GrowingBuffer> scratch(threads);
  std::vector<double> sums(2 * bands);
  const KernelTable& k = kernels();
  parallel_for(bands, threads, [&](int64_t band, int worker) {
    const int begin = int(band) * kRows;
    k.ssim_rows(job, begin, std::min(height, begin + kRows), scratch[worker], &sums[2 * band]);
  });
  if (gradient)
    parallel_for(bands, threads, [&](int64_t band, int worker) {
      const int begin = int(band) * kRows;
      k.ssim_gradient_rows(job, begin, std::min(height, begin + kRows), scratch[worker]);
    });
  double ssim = 0, l1 = 0;
  for (int b = 0; b < bands; ++b) ssim += sums[2 * b], l1 += sums[2 * b + 1];
  if (!pixels) return 0.0;
  return (1.0 - ssim_weight) * l1 / values + ssim_weight * (1.0 - ssim / values);
}

}  // namespace cgc
