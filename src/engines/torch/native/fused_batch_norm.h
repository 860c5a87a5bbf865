// Batch norm, addition and ReLU in one pass over memory: float32 on CPUs, and by cuda/kernels.h on GPUs. operations.h has
// what it must equal.

#pragma once

#include <ATen/core/Tensor.h>

#include "plan.h"
#include "replica.h"

bool fusedBatchNormServes(const at::Tensor& x);

/**
 * relu(batchNorm(x) + residual), as far as the step has them; `residual` may be undefined. Where vectors.allGather is
 * there, statistics are those of the maps of all workers, and x may be empty, here and in the backward pass.
 */
at::Tensor fusedNormalise(const Step& step, const at::Tensor& x, const at::Tensor& residual, const Vectors& vectors,
                          Saved& saved);
at::Tensor fusedNormaliseWithRunning(const Step& step, const at::Tensor& x, const at::Tensor& residual,
                                     const Vectors& vectors);

/** The output of a training pass once more, from what it saved. */
at::Tensor fusedNormaliseAgain(const Step& step, const at::Tensor& x, const Vectors& vectors, const Saved& saved);

/**
 * dx; adds to the gradient of gamma and beta. Where a residual was added, `y` is the step's output, and dy is overwritten
 * by what passes through the ReLU: the gradient of the residual. `factor` multiplies what goes on into the batch norm.
 */
at::Tensor fusedNormaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& y, at::Tensor& dy,
                                  double factor, const Vectors& vectors, const Saved& saved);
