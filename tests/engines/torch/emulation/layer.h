// A batch norm to check: its step, and vectors with random numbers in them.

#pragma once

#include "plan.h"
#include "replica.h"

struct Layer {
  Step step;
  /** float32. */
  Vectors vectors;

  /** `aligned`: gamma and beta lie as the kernels of vectors want them. */
  Layer(int64_t channels, bool relu, bool residual, bool aligned = true);

  /** All that may be written is a copy. */
  Vectors copy(at::ScalarType type = at::kFloat) const;
};

/** Random numbers, [samples, channels, height, width] in channels_last order. */
at::Tensor randomMap(at::IntArrayRef shape, at::ScalarType type, double mean = 0);
