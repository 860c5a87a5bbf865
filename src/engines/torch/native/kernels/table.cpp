#include "kernels.h"

namespace GRADAMP_ISA {

extern const BatchNormKernels batchNormKernels;
extern const MatrixKernels matrixKernels;
extern const UpdateKernels updateKernels;
extern const WinogradKernels winogradKernels;

extern const Kernels kernels = {
#define STRING(x) #x
#define NAME(x) STRING(x)
    NAME(GRADAMP_ISA),
    &batchNormKernels,
    &matrixKernels,
    &updateKernels,
    &winogradKernels,
};

}  // namespace GRADAMP_ISA
