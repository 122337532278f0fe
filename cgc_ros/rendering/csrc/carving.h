// Free and occupied space: a view's depth against the voxels of a grid. The voxel at (i, j, k) is the k-th of its row,
// rows lie along z; its centre is at from_grid * (i, j, k, 1) in the camera's frame.
#pragma once

#include <cstdint>

namespace cgc {

constexpr int kCarveBlock = 8;  // voxels along each edge of what is looked at at once
constexpr int kCarveTile = 16;  // pixels along each edge of a tile of the view

struct CarveJob {
  int64_t nx, ny, nz;
  float from_grid[12];     // [3, 4]
  float fx, fy, cx, cy;    // pixels, centre of the first at (0.5, 0.5)
  int width, height;
  const float* surface;    // [height, width] metres along z, 0 = unknown
  const float* nearest;    // [height, width] the nearest surface around a pixel, 0 where part of it is unknown
  const float* farthest;   // [tiles down, tiles across] of `surface` in each tile
  const float* closest;    // [tiles down, tiles across] of `nearest`
  float clearance;         // metres before `nearest`, and
  float clearance_share;   // of its depth, up to which a voxel is free
  float band, band_share;  // the same on both sides of `surface`, where it is occupied
  uint8_t* free;           // [nx, ny, nz] views that see through, at most 255
  uint8_t* hit;            // [nx, ny, nz] views that see a surface there, at most 255
};

}  // namespace cgc
