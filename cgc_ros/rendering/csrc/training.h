// One step of photometric training without intermediate gradients in memory: from parameters to moved parameters.
#pragma once

#include "rasterizer.h"

namespace cgc {

struct TrainingStep {
  View view;
  int64_t count = 0;
  TrainedRows means, quats, log_scales, logit_opacities, harmonics;
  int sh_degree = 0;
  float camera_position[3] = {};
  const uint8_t* color = nullptr;         // [H, W, 3]
  const uint16_t* depth_halves = nullptr; // [H, W] or null
  const uint8_t* mask = nullptr;          // [H, W], 0 = does not count; or null
  float gain[3] = {1, 1, 1}, offset[3] = {};
  float background[3] = {};
  float ssim_weight = 0, depth_weight = 0, opacity_weight = 0, coverage_weight = 0, anisotropy_weight = 0,
        max_log_ratio = 0, depth_min_alpha = 0, depth_max_error = 0;
  float beta1 = 0, beta2 = 0, epsilon = 0;
  bool camera_wanted = false;
};

struct TrainingResult {
  double photometric = 0;  // loss
  double squares = 0;      // mean squared error of the exposed colour
  int64_t visible = 0;
  ExposureGradient exposure;
  double camera[12] = {};  // rotation row-major, then translation
  double camera_position[3] = {};
};

TrainingResult train(const TrainingStep& step, int threads);

}  // namespace cgc
