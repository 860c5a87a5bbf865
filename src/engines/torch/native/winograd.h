// 3x3 convolutions of stride 1 by Winograd's minimal filtering: float32 on CPUs. operations.h has what it must equal.

#pragma once

#include <ATen/core/Tensor.h>

#include "plan.h"

bool winogradServes(const Step& step, const at::Tensor& x);

at::Tensor winogradConvolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters);

/** Adds to the gradient of the filter, and of the bias where there is one. */
void winogradWeightGradient(const Step& step, const at::Tensor& x, const at::Tensor& dy, const at::Tensor& gradient);

at::Tensor winogradInputGradient(const Step& step, const at::Tensor& dy, const at::Tensor& parameters);
