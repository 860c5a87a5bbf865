#include "kernels.h"

namespace GRADAMP_ISA {

extern const BatchNormKernels batchNormKernels;
extern const MatrixKernels matrixKernels;
extern const UpdateKernels updateKernels;
extern const WinogradKernels winogradKernels;

extern const Kernels kernels = {
    &batchNormKernels,
    &matrixKernels,
    &updateKernels,
    &winogradKernels,
};

}  // namespace GRADAMP_ISA
