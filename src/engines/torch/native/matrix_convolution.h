// Convolutions of any kernel and stride as products of matrices: float32 on CPUs. operations.h has what they must equal.

#pragma once

#include <ATen/core/Tensor.h>

#include "plan.h"

bool matrixConvolutionServes(const at::Tensor& x);

at::Tensor matrixConvolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters);

/** Adds to the gradient of the filter, and of the bias where there is one. */
void matrixWeightGradient(const Step& step, const at::Tensor& x, const at::Tensor& dy, const at::Tensor& gradient);

/** Of an input of the shape [samples, channels, height, width]. */
at::Tensor matrixInputGradient(const Step& step, at::IntArrayRef inputShape, const at::Tensor& dy,
                               const at::Tensor& parameters);
