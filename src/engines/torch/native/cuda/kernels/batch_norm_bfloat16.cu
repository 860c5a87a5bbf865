// Batch norm of bfloat16 maps: of 8 channels a thread, and of any number of channels.

#include "batch_norm.cuh"

KERNELS(bfloat16, bfloat16, 1)
KERNELS(bfloat16Vector, bfloat16, 8)
