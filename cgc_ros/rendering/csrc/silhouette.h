// Rigid triangle meshes seen by a pinhole camera: a z-buffer, and its silhouette widened by a radius per pixel.
#pragma once

#include <cstdint>

namespace cgc {

struct MeshPart {
  int64_t first_vertex, num_vertices;
  int64_t first_face, num_faces;  // faces index all vertices
  bool closed;                    // only faces that look at the camera are drawn: it may be inside
  float camera_from_part[12];     // rows of [3, 4]
  float reach;                    // pixels times metres: at distance z the silhouette widens by reach / z
};

struct MeshDrawing {
  int width, height;
  double fx, fy, cx, cy;  // the first pixel's centre is at (0, 0)
  float near;             // what is nearer is cut away
  const float* vertices;  // [V, 3]
  const int32_t* faces;   // [F, 3]
  float* inverse_depth;   // [H, W] of the nearest surface, 0 where there is none; zeros at first
  float* reach;           // [H, W] pixels, the largest of all surfaces there; zeros at first
};

constexpr int kMaxReach = 120;  // pixels: sums of two squares stay within 16 bits

// Where a pixel with a surface is nearer than its own radius.
struct Widening {
  int width, height;
  const float* inverse_depth;  // [H, W]
  const float* reach;          // [H, W] pixels
  float offset;                // pixels, added to every radius
  int16_t* scratch;            // [H, W]
  uint8_t* mask;               // [H, W]; zeros at first
};

}  // namespace cgc
