// The sources of our CUDA kernels, compiled for the processor, and their names.

#include "device.h"

#include "cuda/kernels/assembly.cu"
#include "cuda/kernels/batch_norm_bfloat16.cu"
#include "cuda/kernels/batch_norm_float.cu"
#include "cuda/kernels/loss.cu"
#include "cuda/kernels/update.cu"
#include "launch.h"

namespace emulation {

namespace {

template <typename Kernel>
struct Argument;

template <typename T>
struct Argument<void (*)(T)> {
  using Type = T;
};

template <auto kernel>
void run(const void* argument) {
  kernel(*static_cast<const typename Argument<decltype(kernel)>::Type*>(argument));
}

}  // namespace

#define NAMED(NAME) {#NAME, run<&NAME>}
#define BATCH_NORM(SUFFIX)                                                                                      \
  NAMED(moments_##SUFFIX), NAMED(normalise_##SUFFIX), NAMED(normaliseAndAdd_##SUFFIX),                          \
      NAMED(gradientSums_##SUFFIX), NAMED(gradientSumsByOutput_##SUFFIX), NAMED(gradientSumsAgain_##SUFFIX),    \
      NAMED(inputGradient_##SUFFIX), NAMED(inputGradientAgain_##SUFFIX)

const std::vector<Kernel> KERNELS = {
    NAMED(assemble_float),
    NAMED(assemble_bfloat16),
    BATCH_NORM(float),
    BATCH_NORM(floatVector),
    BATCH_NORM(bfloat16),
    BATCH_NORM(bfloat16Vector),
    NAMED(runningStatistics),
    NAMED(allMoments),
    NAMED(allGradientSums),
    NAMED(crossEntropy_float),
    NAMED(crossEntropy_bfloat16),
    NAMED(finishStep),
    NAMED(chunkNorms),
    NAMED(tensorNorms),
    NAMED(checkFinite),
    NAMED(tensorScales),
    NAMED(updateChunks),
    NAMED(directionSums),
};

}  // namespace emulation
