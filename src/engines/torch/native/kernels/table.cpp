#include "kernels.h"

namespace GRADAMP_ISA {

extern const BatchNormKernels batchNormKernels;
extern const UpdateKernels updateKernels;

extern const Kernels kernels = {
#define STRING(x) #x
#define NAME(x) STRING(x)
    NAME(GRADAMP_ISA),
    &batchNormKernels,
    &updateKernels,
};

}  // namespace GRADAMP_ISA
