// Softmax cross-entropy of a pass.

#pragma once

#include <ATen/core/Tensor.h>

#include "replica.h"

struct LossOptions {
  /** Of each sample's loss in the gradient. */
  double weight;
  /** Share of the target that is spread evenly over the classes. */
  double smoothing;
};

struct Loss {
  PassResult result;
  /** Of weight * the sum of the losses with respect to the logits; undefined where it was not wanted. */
  at::Tensor gradient;
};

/** With the gradient. `logits` [samples, classes]. */
Loss softmaxCrossEntropy(const at::Tensor& logits, const Batch& batch, const LossOptions& options);

/** Without it; `predictions` [samples]: the class of the largest logit, -1 where none is a number. */
PassResult classify(const at::Tensor& logits, const Batch& batch, int32_t* predictions);
