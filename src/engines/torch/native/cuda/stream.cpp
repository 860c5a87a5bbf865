#include "stream.h"

#include <c10/cuda/CUDAStream.h>

namespace cuda {

void synchronise() { c10::cuda::getCurrentCUDAStream().synchronize(); }

}  // namespace cuda
