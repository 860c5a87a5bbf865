#pragma once
#include <ATen/core/Tensor.h>
#include "plan.h"
inline bool winogradServes(const Step&, const at::Tensor&) { return false; }
inline at::Tensor winogradConvolve(const Step&, const at::Tensor&, const at::Tensor&) { return {}; }
inline void winogradWeightGradient(const Step&, const at::Tensor&, const at::Tensor&, const at::Tensor&) {}
inline at::Tensor winogradInputGradient(const Step&, const at::Tensor&, const at::Tensor&) { return {}; }
