// The table of one instruction set.
#include "kernels.h"

#define CGC_STRING_(x) #x
#define CGC_STRING(x) CGC_STRING_(x)

namespace cgc::CGC_ISA {

int64_t project(const Projection&, int64_t, int64_t, GrowingBuffer&);
void project_backward(const Projection&, const ProjectionGradients&, int64_t, int64_t, double*);
void harmonics(const Harmonics&, int64_t, int64_t, Splat*);
void harmonics_backward(const Harmonics&, int64_t, int64_t, const Splat*, const float*, float*, float*, double*);
size_t forward_scratch(const Channels&);
int64_t forward_tile(const ForwardTiles&, int, void*);
size_t backward_scratch(const Channels&);
void backward_tile(const BackwardTiles&, int, void*);
int64_t weights_tile(const WeightTiles&, int, GrowingBuffer&, GrowingBuffer&, int64_t, int32_t*);
void labels_tile(const LabelTiles&, int, GrowingBuffer&);
void votes_tile(const VoteTiles&, int, GrowingBuffer&);
void blend_pixels(const SparseBlend&, const float*, int64_t, int64_t, float*);
void blend_gaussians(const SparseBlend&, const float*, int64_t, int64_t, float*);
void ssim_rows(const SsimImages&, int, int, GrowingBuffer&, double*);
void ssim_gradient_rows(const SsimImages&, int, int, GrowingBuffer&);
void adam_rows(const AdamRows&, int64_t, int64_t);
void activate_rows(const Activation&, int64_t, int64_t);
void update_rows(const TrainingUpdate&, const ChunkGradients&, int64_t, int64_t);
void expose_pixels(const TargetPixels&, int64_t, int64_t, ExposureSums&);
void loss_gradient_pixels(const TargetPixels&, float, int64_t, int64_t, ExposureGradient&);

extern const StereoKernels stereo_table;

extern const KernelTable table;
const KernelTable table = {
    CGC_STRING(CGC_ISA), project,         project_backward, harmonics,       harmonics_backward, forward_scratch,
    forward_tile,        backward_scratch, backward_tile,   weights_tile,    labels_tile,        votes_tile,
    blend_pixels,        blend_gaussians, ssim_rows,        ssim_gradient_rows, adam_rows,       activate_rows,
    update_rows,         expose_pixels,   loss_gradient_pixels, &stereo_table,
};

}  // namespace cgc::CGC_ISA
