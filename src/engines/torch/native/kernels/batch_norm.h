// Batch norm with the addition and the ReLU behind it, over rows of `channels` float32: [rows, channels].

#pragma once

#include <cstdint>

/** y = relu(x * scale + offset + residual), by channel. */
struct Affine {
  int64_t channels;
  const float* scale;
  const float* offset;
  bool relu;
};

/** Sums by channel are added up in blocks of float32, the blocks in float64. */
struct BatchNormKernels {
  /** Adds x - shift and (x - shift)^2, by channel. */
  void (*moments)(int64_t rows, int64_t channels, const float* x, const float* shift, double* sums, double* squares);

  /** `residual` may be null. */
  void (*forward)(const Affine& affine, int64_t rows, const float* x, const float* residual, float* y);

  /**
   * Adds, by channel, g and g * (x - mean), where g is what passes through the ReLU: dy where its output was above 0,
   * which `y` says, or (where y is null) the affine map of x once more. With y, g is written over dy.
   */
  void (*gradientSums)(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* y, float* dy,
                       double* sums, double* products);

  /** dx = a * g + b * (x - mean) + c, by channel; dx may be dy. `masked`: dy is g already. */
  void (*inputGradient)(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* dy,
                        bool masked, const float* a, const float* b, const float* c, float* dx);
};
