// A z-buffer of triangle meshes, and the union of discs around its pixels.
#include "silhouette.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"

namespace cgc::CGC_ISA {
namespace {

struct Point {
  float x, y, z;
};

struct Corner {
  double u, v, inverse;  // pixels, 1 / z
};

constexpr double kEdge = 1e-6;  // pixels: neighbours share their edge
constexpr int16_t kFar = 16000;  // no pixel with a surface; kFar + kMaxReach^2 fits into 16 bits

Corner projected(const MeshDrawing& d, const Point& p) {
  const double inverse = 1.0 / p.z;
  return {d.fx * p.x * inverse + d.cx, d.fy * p.y * inverse + d.cy, inverse};
}

// Pixels whose centres lie in the triangle.
void fill(const MeshDrawing& d, const MeshPart& part, Corner a, Corner b, Corner c) {
  double area = (b.u - a.u) * (c.v - a.v) - (c.u - a.u) * (b.v - a.v);
  if (part.closed && area > 0) return;  // seen from inside
  if (area < 0) std::swap(b, c), area = -area;
  if (!(area > 1e-9)) return;
  const int top = int(std::max(0.0, std::ceil(std::min({a.v, b.v, c.v}) - kEdge)));
  const int bottom = int(std::min(d.height - 1.0, std::floor(std::max({a.v, b.v, c.v}) + kEdge)));
  const double du = ((b.inverse - a.inverse) * (c.v - a.v) - (c.inverse - a.inverse) * (b.v - a.v)) / area;
  const double dv = ((c.inverse - a.inverse) * (b.u - a.u) - (b.inverse - a.inverse) * (c.u - a.u)) / area;
  const float least = float(std::min({a.inverse, b.inverse, c.inverse}));
  const float most = float(std::max({a.inverse, b.inverse, c.inverse}));
  const Corner* corners[4] = {&a, &b, &c, &a};
  for (int y = top; y <= bottom; ++y) {
    double left = 0.0, right = d.width - 1.0;
    bool hit = true;
    for (int k = 0; k < 3; ++k) {  // inside of an edge: slope * x + rest >= 0
      const Corner &from = *corners[k], &to = *corners[k + 1];
      const double slope = from.v - to.v, rest = (to.u - from.u) * (y - from.v) - slope * from.u;
      if (slope > 0)
        left = std::max(left, -rest / slope - kEdge);
      else if (slope < 0)
        right = std::min(right, -rest / slope + kEdge);
      else
        hit = hit && rest >= 0;
    }
    if (!hit || !(left <= right)) continue;
    const int begin = int(std::ceil(left)), end = int(std::floor(right)) + 1;
    float* nearest = d.inverse_depth + size_t(y) * d.width;
    float* reach = d.reach + size_t(y) * d.width;
    const float at_zero = float(a.inverse + dv * (y - a.v) - du * a.u), step = float(du);
    for (int x = begin; x < end; ++x) {
      const float inverse = std::min(std::max(at_zero + step * float(x), least), most);
      nearest[x] = std::max(nearest[x], inverse);
      reach[x] = std::max(reach[x], inverse * part.reach);
    }
  }
}

// Where the line from a point behind the near plane to one before it comes through.
Point cut(const Point& behind, const Point& before, float near) {
  const float t = (near - behind.z) / (before.z - behind.z);
  return {behind.x + t * (before.x - behind.x), behind.y + t * (before.y - behind.y), near};
}

void draw_clipped(const MeshDrawing& d, const MeshPart& part, const Point corners[3]) {
  Corner kept[4];
  int count = 0;
  for (int k = 0; k < 3; ++k) {
    const Point &here = corners[k], &next = corners[(k + 1) % 3];
    if (here.z >= d.near) kept[count++] = projected(d, here);
    if ((here.z >= d.near) != (next.z >= d.near))
      kept[count++] = projected(d, here.z < d.near ? cut(here, next, d.near) : cut(next, here, d.near));
  }
  for (int k = 2; k < count; ++k) fill(d, part, kept[0], kept[k - 1], kept[k]);
}

// Row y as minus the square of each pixel's radius.
void read_row(const Widening& w, int y, int16_t* out, int& largest) {
  const float* nearest = w.inverse_depth + size_t(y) * w.width;
  const float* reach = w.reach + size_t(y) * w.width;
  for (int x = 0; x < w.width; ++x) {
    const float radius = std::min(reach[x] + w.offset, float(kMaxReach));
    const int16_t square = int16_t(radius * radius);
    out[x] = nearest[x] > 0.0f ? int16_t(-square) : kFar;
    largest = std::max(largest, nearest[x] > 0.0f ? int(radius) : -1);
  }
}

}  // namespace

void draw_part(const MeshDrawing& d, const MeshPart& part) {
  std::vector<Point> points(size_t(part.num_vertices));
  const float* m = part.camera_from_part;
  for (int64_t i = 0; i < part.num_vertices; ++i) {
    const float* p = d.vertices + 3 * (part.first_vertex + i);
    points[size_t(i)] = {m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3], m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7],
                         m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11]};
  }
  for (int64_t f = part.first_face; f < part.first_face + part.num_faces; ++f) {
    Point corners[3];
    for (int k = 0; k < 3; ++k) corners[k] = points[size_t(d.faces[3 * f + k] - part.first_vertex)];
    draw_clipped(d, part, corners);
  }
}

// The squared distance to a disc's centre less the disc's squared radius, least over all discs, first along columns,
// then along rows: where it is not positive, a disc covers the pixel.
void widen(const Widening& w) {
  std::fill_n(w.scratch, size_t(w.width) * w.height, kFar);
  std::vector<int16_t> row(size_t(w.width));
  int widest = -1;
  for (int y = 0; y < w.height; ++y) {
    int largest = -1;
    read_row(w, y, row.data(), largest);
    widest = std::max(widest, largest);
    for (int other = std::max(0, y - largest); other <= std::min(w.height - 1, y + largest) && largest >= 0; ++other) {
      const auto square = int16_t((other - y) * (other - y));
      int16_t* least = w.scratch + size_t(other) * w.width;
      for (int x = 0; x < w.width; ++x) least[x] = std::min<int16_t>(least[x], int16_t(row[size_t(x)] + square));
    }
  }
  if (widest < 0) return;
  std::vector<int16_t> wide(size_t(w.width + 2 * widest), kFar);
  for (int y = 0; y < w.height; ++y) {
    const int16_t* least = w.scratch + size_t(y) * w.width;
    if (std::all_of(least, least + w.width, [](int16_t value) { return value > 0; })) continue;
    std::copy_n(least, w.width, wide.data() + widest);
    std::copy_n(least, w.width, row.data());
    for (int shift = -widest; shift <= widest; ++shift) {
      const auto square = int16_t(shift * shift);
      const int16_t* shifted = wide.data() + widest + shift;
      for (int x = 0; x < w.width; ++x)
        row[size_t(x)] = std::min<int16_t>(row[size_t(x)], int16_t(shifted[x] + square));
    }
    uint8_t* mask = w.mask + size_t(y) * w.width;
    for (int x = 0; x < w.width; ++x) mask[x] = row[size_t(x)] <= 0;
  }
}

}  // namespace cgc::CGC_ISA
