// The loops that are compiled once for each instruction set: plain C++ on pointers, no libtorch, no threads (callers
// split the work). GRADAMP_ISA is the namespace, and the set, that a file is compiled for. Only headers without
// code of their own may be included here: code from a shared header could be linked in from the wrong set.

#pragma once

#include <cstdint>

#include "batch_norm.h"
#include "matrix.h"
#include "update.h"
#include "winograd.h"

/** Width of the vectors that a file is compiled for, in float32. */
#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

struct Kernels {
  const BatchNormKernels* batchNorm;
  const MatrixKernels* matrix;
  const UpdateKernels* update;
  const WinogradKernels* winograd;
};

namespace baseline {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}

/** Those for this processor. */
const Kernels& kernels();
