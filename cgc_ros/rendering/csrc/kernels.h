// The functions that exist once for every instruction set. Each works on one chunk of Gaussians, one tile or one band
// of rows; who runs them, on how many threads and on what memory is the business of their callers (rasterizer.h).
#pragma once

#include "carving.h"
#include "scene.h"
#include "silhouette.h"
#include "stereo.h"

namespace cgc {

struct Projection {
  View view;
  Gaussians gaussians;
  const float* colors; // [N, 3] to be copied into the splats, or null
  Splat* splats;       // [N], only the visible ones are written
  int32_t* radii;      // [N], 0 = not visible
  int32_t* num_tiles;  // [N]
};

struct ProjectionGradients {
  const int32_t* first_slot;    // [N + 1]
  const float* pairs;           // [pairs, stride]: s, s u, s v, s u^2, s u v, s v^2, 0, 0, then channels
  int stride;
  Channels channels;
  float* means;                 // outputs, each may be null
  float* quats;
  float* scales;
  float* opacities;
  float* colors;                // [N, 3]
  float* features;              // [N, F]
  float* means2d;               // [N, 2]
};

struct Harmonics {
  int degree;
  int num_coefficients;         // K of the [N, K, 3] array
  const float* coefficients;
  const float* means;
  const int32_t* radii;
  float camera_position[3];
};

struct ForwardTiles {
  View view;
  const Splat* splats;
  TileLists lists;
  Channels channels;
  const float* background;      // [3] or null
  bool find_blocks;             // lists.blocks is to be filled, not read
  float* color;                 // [H, W, 3] or null
  float* features;              // [H, W, F]
  float* depth;                 // [H, W]
  float* alpha;                 // [H, W]
  // Kept for the backward pass or null, [tiles, 256], in the order of blocks and lanes.
  float* transmittance;
  int32_t* stop;                // position in the tile's list where the pixel had become opaque
  float* pair_contribution;     // [pairs] by slot, or null
};

struct BackwardTiles {
  ForwardTiles forward;
  const float* color;           // gradients of the outputs, each may be null
  const float* features;
  const float* depth;
  const float* alpha;
  float* pairs;                 // [pairs, stride] by slot
  int stride;
};

// For the queries below: the pixels asked for, by tile.
struct WeightTiles {
  View view;
  const Splat* splats;
  TileLists lists;
  const uint8_t* wanted;        // [tiles, 256] in the order of blocks and lanes
};

struct WeightEntry {
  int32_t gaussian;
  float weight;
};

struct LabelTiles {
  View view;
  const Splat* splats;
  TileLists lists;
  const int32_t* object_ids;    // [N], negative = none
  int32_t* labels;              // [H, W]
  float* confidence;            // [H, W]
  float* depth;                 // [H, W]
};

struct VoteTiles {
  View view;
  const Splat* splats;
  TileLists lists;
  const int16_t* local_labels;  // [tiles, 256]: index among the tile's labels, -1 = votes for nothing
  const int32_t* num_local;     // [tiles]
  const int64_t* first_vote;    // [tiles + 1] into votes
  float* votes;                 // per tile [list length, num_local]
};

// Weights at pixels (CSR) and what they blend.
struct SparseBlend {
  const int64_t* offsets;       // [P + 1]
  const int32_t* gaussians;     // [nnz]
  const float* weights;         // [nnz]
  int64_t num_pixels;
  int channels;
};

struct SsimImages {
  int width, height;
  const float* rendered;        // [H, W, 3]
  const float* target;          // [H, W, 3]
  const uint8_t* mask;          // [H, W] or null
  float ssim_scale, l1_scale;   // weight / number of values
  float* derivatives;           // [3, H, W, 3] scratch: of SSIM by the window's mean, by E[x^2], by E[x y]
  float* gradient;              // [H, W, 3]
};

struct AdamRows {
  int64_t width;                // floats per row
  const uint8_t* moving;        // [N] rows that move, or null for all
  bool touched_only;            // rows whose gradient is all zeros do not move either
  const float* gradient;        // [N, width]
  float* parameter;             // [N, width], as the moments
  float* first;
  float* second;
  float rate, beta1, beta2, epsilon;
};

// Natural units of what is trained: scales = exp(log_scales), opacities = sigmoid(logit_opacities).
struct Activation {
  const float* log_scales;       // [N, 3]
  const float* logit_opacities;  // [N]
  float* scales;
  float* opacities;
};

// A photometric target and what is done to the rendered colour before it is compared: color * gain + offset.
struct TargetPixels {
  int64_t count;                // pixels
  const float* color;           // [P, 3] rendered
  const float* depth;           // [P] rendered, or null without a depth target
  const float* alpha;           // [P]
  const uint8_t* color_bytes;   // [P, 3] target, 255 = 1
  const uint16_t* depth_halves; // [P] target, half precision, 0 = invalid
  const uint8_t* mask;          // [P], 0 = does not count; or null
  float gain[3], offset[3];
  float depth_min_alpha;        // above it a pixel's depth is compared
  float depth_max_error;        // relative; a larger one has no gradient
  float* exposed;               // [P, 3]
  float* target;                // [P, 3]
  float* color_gradient;        // [P, 3] of `exposed`, then of `color`
  float* depth_gradient;        // [P]
};

struct ExposureSums {
  double squares = 0;           // of exposed - target
  int64_t with_depth = 0;       // pixels where depth is compared
};

struct ExposureGradient {
  double gain[3] = {}, offset[3] = {};
};

// A trained parameter beside Adam's moments, [N, width] each.
struct TrainedRows {
  int width;
  float* value;
  float* first;
  float* second;
  float rate;
};

// What moves the Gaussians of a chunk. The rate of the means is times each one's size. The two regularisers have
// gradients of their own: `opacity_pull` for every visible opacity, `needle_pull` on log scales where the longest axis
// is more than exp(max_log_ratio) times the middle one.
struct TrainingUpdate {
  TrainedRows means, quats, log_scales, logit_opacities, harmonics;
  const float* scales;          // [N, 3]
  const float* opacities;       // [N]
  const int32_t* radii;         // [N]; rows that are not visible stay as they are
  bool touched_only;  // rows whose opacity has no gradient do not move either: no counting pixel shows them
  float beta1, beta2, epsilon;
  float opacity_pull, needle_pull, max_log_ratio;
};

// Of the rows of one chunk, from its first on; overwritten.
struct ChunkGradients {
  float* means;
  const float* directions;  // added to those of the means, or null
  float* quats;
  float* scales;
  float* opacities;
  float* harmonics;
};

struct KernelTable {
  const char* name;
#define CGC_KERNEL(result, kernel, ...) result (*kernel)(__VA_ARGS__);
#include "kernels.def"
#undef CGC_KERNEL
  const StereoKernels* stereo;
};

// Of the best instruction set this processor has; CGC_ISA in the environment asks for another by name.
const KernelTable& kernels();
const KernelTable* kernels_named(const char* name);  // null where it is unknown or cannot run here
void use_kernels(const char* name);  // for tests and benchmarks
int kernel_names(const char** names, int capacity);  // those that can run here

}  // namespace cgc
