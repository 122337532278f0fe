// Free and occupied space for Python.
#include <algorithm>
#include <vector>

#include "carving.h"
#include "kernels.h"
#include "python_arrays.h"
#include "thread_pool.h"

namespace cgc {
namespace {

// The largest (or smallest) value of each tile of an image.
template <class Better>
std::vector<float> tiles_of(const float* image, int width, int height, Better better) {
  const int across = (width + kCarveTile - 1) / kCarveTile, down = (height + kCarveTile - 1) / kCarveTile;
  std::vector<float> tiles(size_t(across) * down);
  for (int y = 0; y < height; ++y) {
    const float* row = image + size_t(y) * width;
    float* to = tiles.data() + size_t(y / kCarveTile) * across;
    for (int t = 0; t < across; ++t) {
      const int begin = t * kCarveTile, end = std::min(begin + kCarveTile, width);
      float best = y % kCarveTile == 0 ? row[begin] : to[t];
      for (int x = begin; x < end; ++x) best = better(best, row[x]);
      to[t] = best;
    }
  }
  return tiles;
}

void carve(In<uint8_t> free, In<uint8_t> hit, In<float> from_grid, In<float> surface, In<float> nearest, float fx,
           float fy, float cx, float cy, float clearance, float clearance_share, float band, float band_share,
           int threads) {
  CarveJob job{};
  job.free = write(free, {-1, -1, -1}, "free");
  job.nx = free.shape(0), job.ny = free.shape(1), job.nz = free.shape(2);
  job.hit = write(hit, {job.nx, job.ny, job.nz}, "hit");
  std::copy_n(read(from_grid, {3, 4}, "from_grid"), 12, job.from_grid);
  job.surface = read(surface, {-1, -1}, "surface");
  job.height = int(surface.shape(0)), job.width = int(surface.shape(1));
  job.nearest = read(nearest, {job.height, job.width}, "nearest");
  job.fx = fx, job.fy = fy, job.cx = cx, job.cy = cy;
  job.clearance = clearance, job.clearance_share = clearance_share, job.band = band, job.band_share = band_share;
  if (free.size() == 0 || surface.size() == 0) return;
  py::gil_scoped_release release;
  const auto larger = [](float a, float b) { return std::max(a, b); };
  const auto smaller = [](float a, float b) { return std::min(a, b); };
  const std::vector<float> farthest = tiles_of(job.surface, job.width, job.height, larger);
  const std::vector<float> closest = tiles_of(job.nearest, job.width, job.height, smaller);
  job.farthest = farthest.data(), job.closest = closest.data();
  const KernelTable& table = kernels();
  const auto blocks = [](int64_t voxels) { return (voxels + kCarveBlock - 1) / kCarveBlock; };
  const int64_t slab = blocks(job.ny) * blocks(job.nz);
  parallel_for(blocks(job.nx), threads,
               [&](int64_t item, int) { table.carve_blocks(job, item * slab, (item + 1) * slab); });
}

}  // namespace

void bind_carving(py::module_& m) {
  m.def("carve", &carve, py::arg("free").noconvert(), py::arg("hit").noconvert(), py::arg("from_grid").noconvert(),
        py::arg("surface").noconvert(), py::arg("nearest").noconvert(), py::kw_only(), py::arg("fx"), py::arg("fy"),
        py::arg("cx"), py::arg("cy"), py::arg("clearance"), py::arg("clearance_share"), py::arg("band"),
        py::arg("band_share"), py::arg("threads"),
        "Counts a view in the voxels [X, Y, Z] that it sees through, and in those where it sees a surface.");
}

}  // namespace cgc
