// A convolution by the fastest way that serves it.

#pragma once

#include <ATen/core/Tensor.h>

#include "plan.h"
#include "replica.h"

at::Tensor convolveFast(const Step& step, const at::Tensor& x, const at::Tensor& parameters);

/** Adds to the gradient vector; returns dx, undefined where it is not wanted. */
at::Tensor convolveFastBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                                bool wanted);
