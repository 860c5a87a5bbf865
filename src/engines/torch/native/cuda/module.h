// Our CUDA kernels as functions by name: compiled from their sources by NVRTC, once a process and kind of GPU. All that
// kernels.cpp asks of a device is asked here, so that tests/engines/torch/emulation/launch.cpp can stand in for one.

#pragma once

namespace cuda {

/** Compiles the kernels for the current device, and loads them onto it; seconds the first time, nothing after. */
void loadKernels();

/** Of the current device. */
int multiprocessorCount();

struct Grid {
  /** Neither may be 0. */
  unsigned x;
  unsigned y = 1;
};

/** Launches on the current stream; `argument` points to the kernel's one struct, which is copied. */
void launchKernel(const char* kernel, Grid grid, unsigned threads, const void* argument);

template <typename Argument>
void launch(const char* kernel, Grid grid, unsigned threads, const Argument& argument) {
  launchKernel(kernel, grid, threads, &argument);
}

}  // namespace cuda
