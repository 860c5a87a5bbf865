// Forward and backward computation of each operation by ATen, for every device and element type. Maps are
// [samples, channels, height, width] in channels_last memory order; vectors [samples, features].

#pragma once

#include <ATen/core/Tensor.h>

#include "plan.h"
#include "replica.h"

/** A parameter's view of a flat vector, as PyTorch shapes it. */
at::Tensor viewOf(const at::Tensor& vector, const Parameter& parameter);

/** Whether nobody else holds this tensor, nor a view of its memory: then it may be written over. */
bool isSole(const at::Tensor& tensor);

at::Tensor convolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters);
/** Adds to the gradient vector; returns dx, undefined where it is not wanted. */
at::Tensor convolveBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                            bool wanted);

at::Tensor linear(const Step& step, const at::Tensor& x, const at::Tensor& parameters);
at::Tensor linearBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors);

/** With the statistics of the pass, or of those of all workers, which it saves and mixes into the running ones. */
at::Tensor normalise(const Step& step, const at::Tensor& x, const Vectors& vectors, Saved& saved);
at::Tensor normaliseWithRunning(const Step& step, const at::Tensor& x, const Vectors& vectors);
at::Tensor normaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                             const Saved& saved);
