// Batch norm of float32 maps: of 4 channels a thread, and of any number of channels. And what reads no map.

#include "batch_norm.cuh"

KERNELS(float, float, 1)
KERNELS(floatVector, float, 4)
KERNEL(THREADS, 1, runningStatistics, RunningArguments, readRunning)
KERNEL(THREADS, 1, allMoments, AllMomentsArguments, combineMoments)
KERNEL(THREADS, 1, allGradientSums, AllGradientSumsArguments, combineGradientSums)
