// Batch norm of float32 maps: of 4 channels a thread, and of any number of channels.

#include "batch_norm.cuh"

KERNELS(float, float, 1)
KERNELS(floatVector, float, 4)
KERNEL(THREADS, 1, inverseDeviations, DeviationArguments, invertDeviations)
