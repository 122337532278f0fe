// The table of one instruction set.
#include "kernels.h"

#define CGC_STRING_(x) #x
#define CGC_STRING(x) CGC_STRING_(x)

namespace cgc::CGC_ISA {

#define CGC_KERNEL(result, kernel, ...) result kernel(__VA_ARGS__);
#include "kernels.def"
#undef CGC_KERNEL

extern const StereoKernels stereo_table;

extern const KernelTable table;
const KernelTable table = {
    CGC_STRING(CGC_ISA),
#define CGC_KERNEL(result, kernel, ...) kernel,
#include "kernels.def"
#undef CGC_KERNEL
    &stereo_table,
};

}  // namespace cgc::CGC_ISA
