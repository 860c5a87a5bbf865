#include "replica.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/avg_pool2d_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/max_pool2d_with_indices.h>
#include <ATen/ops/max_pool2d_with_indices_backward.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/threshold_backward.h>
#include <c10/core/InferenceMode.h>

#include <stdexcept>

#include "convolution.h"
#include "cuda/kernels.h"
#include "cuda/stream.h"
#include "fused_batch_norm.h"
#include "loss.h"
#include "operations.h"

namespace {

at::TensorOptions mapOptions(const at::Tensor& like) {
  return like.options().memory_format(at::MemoryFormat::ChannelsLast);
}

int64_t samplesOf(const std::vector<Batch>& passes) {
  int64_t samples = 0;
  for (const auto& pass : passes) samples += pass.size;
  return samples;
}

/** [samples, channels, 1, 1] to [samples, channels]. */
at::Tensor flatten(const at::Tensor& x) { return x.view({x.size(0), x.size(1)}); }

}  // namespace

Replica::Replica(Plan plan, Vectors vectors, const Normalisation& normalisation, const ReplicaOptions& options)
    : plan_(std::move(plan)),
      vectors_(std::move(vectors)),
      pixels_(normalisation),
      options_(options),
      values_(plan_.values),
      gradients_(plan_.values),
      saved_(plan_.steps.size()),
      recomputedBy_(plan_.values, -1) {
  for (size_t position = 0; position < plan_.steps.size(); position++) {
    const auto& step = plan_.steps[position];
    if (step.relu && (options_.plain || vectors_.parameters.scalar_type() != at::kFloat)) {
      throw std::invalid_argument(step.name + ": expected float32 vectors for what is fused");
    }
    if (step.recomputed) recomputedBy_[step.output] = static_cast<int>(position);
  }
  if (!vectors_.operands.defined()) vectors_.operands = vectors_.parameters;
  if (onGpu()) {
    pixelsOnGpu_ = at::from_blob(pixels_.values, {IMAGE_CHANNELS, 256}, at::kFloat).to(vectors_.parameters.device());
  }
}

bool Replica::fusesBatchNorm(const at::Tensor& x) const { return !options_.plain && fusedBatchNormServes(x); }

template <typename Body>
void Replica::timed(int position, bool backward, Body body) {
  if (!options_.profiled) return body();
  using Microseconds = std::chrono::duration<double, std::micro>;
  const auto start = std::chrono::steady_clock::now();
  body();
  if (onGpu()) cuda::synchronise();
  const auto end = std::chrono::steady_clock::now();
  timings_.push_back({position, backward, Microseconds(start - began_).count(), Microseconds(end - start).count()});
}

template <typename Body>
PassResult Replica::cleanly(Body body) {
  const c10::InferenceMode inference;
  try {
    return body();
  } catch (...) {
    values_.assign(values_.size(), {});
    gradients_.assign(gradients_.size(), {});
    saved_.assign(saved_.size(), {});
    throw;
  }
}

PassResult Replica::gradient(const std::vector<Batch>& passes, int64_t batchSize, const double* factors) {
  return cleanly([&] {
    timings_.clear();
    began_ = std::chrono::steady_clock::now();
    const auto samples = samplesOf(passes);
    // On GPUs the first pass writes, and the others add. Padding is 0 from the start.
    vectors_.accumulates = !onGpu();
    if (vectors_.accumulates || samples == 0) vectors_.gradient.zero_();
    if (onGpu()) samples_ = at::empty({2, samples}, vectors_.parameters.options());
    PassResult total;
    int64_t first = 0;
    for (const auto& batch : passes) {
      const auto last = &batch == &passes.back();
      if (batch.size == 0) {
        if (vectors_.allGather) passNothing(last);
        continue;
      }
      forward(batch, plan_.afterForward, true);
      Loss loss;
      timed(static_cast<int>(plan_.steps.size()) - 1, false, [&] {
        loss = lossOf(batch, {1.0 / static_cast<double>(batchSize), options_.labelSmoothing}, first);
        free(plan_.afterBackward.back());
      });
      backward(std::move(loss.gradient), factors, last);
      total.lossSum += loss.result.lossSum;
      total.correct += loss.result.correct;
      first += batch.size;
      vectors_.accumulates = true;
    }
    return total;
  });
}

Loss Replica::lossOf(const Batch& batch, const LossOptions& options, int64_t first) {
  const auto& logits = values_[plan_.steps.back().inputs[0]];
  if (!onGpu()) return softmaxCrossEntropy(logits, batch, options);
  auto* losses = samples_.data_ptr<float>() + first;
  return {{}, cuda::softmaxCrossEntropy(logits, batch, options, losses, losses + samples_.size(1))};
}

PassResult Replica::evaluate(const Batch& batch, int32_t* predictions) {
  return cleanly([&] {
    if (batch.size == 0) return PassResult{};
    forward(batch, plan_.afterEvaluation, false);
    const auto& logits = values_[plan_.steps.back().inputs[0]];
    PassResult result;
    if (onGpu()) {
      samples_ = at::empty({2, batch.size}, vectors_.parameters.options());
      auto* losses = samples_.data_ptr<float>();
      cuda::classify(logits, batch, losses, losses + batch.size, predictions);
    } else {
      result = classify(logits, batch, predictions);
    }
    free(plan_.afterEvaluation.back());
    return result;
  });
}

at::Tensor Replica::upload(const Batch& batch) {
  if (onGpu()) return cuda::assemble(batch, pixelsOnGpu_, vectors_.operands.scalar_type());
  auto images = at::empty({batch.size, IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE}, mapOptions(vectors_.parameters));
  at::parallel_for(0, batch.size, 16, [&](int64_t first, int64_t last) {
    if (images.scalar_type() == at::kDouble) {
      assemble(pixels_, batch, first, last, images.data_ptr<double>());
    } else {
      assemble(pixels_, batch, first, last, images.data_ptr<float>());
    }
  });
  return images;
}

void Replica::forward(const Batch& batch, const Freed& freed, bool training) {
  timed(-1, false, [&] { values_[0] = upload(batch); });
  for (size_t position = 0; position + 1 < plan_.steps.size(); position++) {
    timed(static_cast<int>(position), false, [&] {
      values_[plan_.steps[position].output] = forwardStep(position, training);
      free(freed[position]);
    });
  }
}

at::Tensor Replica::forwardStep(size_t position, bool training) {
  const auto& step = plan_.steps[position];
  const auto& x = values_[step.inputs[0]];
  auto& saved = saved_[position];
  switch (step.op) {
    case Op::conv2d:
      return convolveFast(step, x, vectors_.operands);
    case Op::linear:
      return linear(step, x, vectors_.operands);
    case Op::batchNorm: {
      const auto residual = step.inputs.size() > 1 ? values_[step.inputs[1]] : at::Tensor();
      if (training) return normaliseStep(step, x, residual, saved);
      return fusesBatchNorm(x) ? fusedNormaliseWithRunning(step, x, residual, vectors_)
                               : normaliseWithRunning(step, x, vectors_);
    }
    case Op::relu:
      return at::relu(x);
    case Op::add:
      return at::add(x, values_[step.inputs[1]]);
    case Op::maxPool: {
      auto [y, indices] = at::max_pool2d_with_indices(x, step.kernel, step.stride);
      if (training) saved.indices = std::move(indices);
      saved.inputShape = x.sizes().vec();
      return y;
    }
    case Op::averagePool:
      saved.inputShape = x.sizes().vec();
      return at::avg_pool2d(x, step.kernel, step.stride);
    case Op::flatten:
      return flatten(x);
    case Op::softmaxCrossEntropy:
      break;
  }
  throw std::logic_error(step.name + " has no forward step");
}

void Replica::backward(at::Tensor logitGradient, const double* factors, bool last) {
  gradients_[plan_.steps.back().inputs[0]] = std::move(logitGradient);
  for (auto position = plan_.steps.size() - 1; position-- > 0;) {
    const auto& step = plan_.steps[position];
    const auto factor = factors && step.layer >= 0 ? factors[step.layer] : 1.0;
    timed(static_cast<int>(position), true, [&] {
      const auto readsInput = step.op == Op::conv2d || step.op == Op::batchNorm || step.op == Op::linear;
      const auto again = readsInput && recompute(step.inputs[0]);
      backwardStep(step, saved_[position], std::move(gradients_[step.output]), factor);
      if (again) values_[step.inputs[0]].reset();
      saved_[position] = {};
      free(plan_.afterBackward[position]);
    });
    if (last && options_.completed) options_.completed(position);
  }
}

void Replica::passNothing(bool last) {
  const auto nothing = [&](const Step& step) {
    return at::empty({0, step.weight->size, 1, 1}, mapOptions(vectors_.operands));
  };
  for (size_t position = 0; position < plan_.steps.size(); position++) {
    const auto& step = plan_.steps[position];
    if (step.op == Op::batchNorm) normaliseStep(step, nothing(step), {}, saved_[position]);
  }
  for (auto position = plan_.steps.size() - 1; position-- > 0;) {
    const auto& step = plan_.steps[position];
    if (step.op == Op::batchNorm) {
      const auto x = nothing(step);
      auto dy = x;
      if (fusesBatchNorm(x)) {
        fusedNormaliseBackward(step, x, step.inputs.size() > 1 ? x : at::Tensor(), dy, 1, vectors_, saved_[position]);
      } else {
        normaliseBackward(step, x, dy, vectors_, saved_[position]);
      }
      saved_[position] = {};
    }
    // At the same places as where there are samples, so that collectives keep their order.
    if (last && options_.completed) options_.completed(position);
  }
}

at::Tensor Replica::normaliseStep(const Step& step, const at::Tensor& x, const at::Tensor& residual, Saved& saved) {
  return fusesBatchNorm(x) ? fusedNormalise(step, x, residual, vectors_, saved) : normalise(step, x, vectors_, saved);
}

void Replica::backwardStep(const Step& step, const Saved& saved, at::Tensor dy, double factor) {
  const auto input = step.inputs[0];
  const auto& x = values_[input];
  // The image has no use for a gradient.
  const auto wanted = input != 0;
  const auto fused = step.op == Op::batchNorm && fusesBatchNorm(x);
  if (factor != 1 && !fused) dy = at::mul(dy, factor);
  switch (step.op) {
    case Op::conv2d:
      addGradient(input, convolveFastBackward(step, x, dy, vectors_, wanted));
      return;
    case Op::linear:
      addGradient(input, linearBackward(step, x, dy, vectors_));
      return;
    case Op::batchNorm: {
      if (!fused) {
        addGradient(input, normaliseBackward(step, x, dy, vectors_, saved));
        return;
      }
      const auto residual = step.inputs.size() > 1;
      const auto y = residual ? values_[step.output] : at::Tensor();
      addGradient(input, fusedNormaliseBackward(step, x, y, dy, factor, vectors_, saved));
      // The pass through the ReLU was written over dy.
      if (residual) addGradient(step.inputs[1], std::move(dy));
      return;
    }
    case Op::relu:
      addGradient(input, at::threshold_backward(dy, values_[step.output], 0));
      return;
    case Op::add:
      addGradient(step.inputs[1], dy);
      addGradient(input, std::move(dy));
      return;
    // Of the input, pools read the shape alone.
    case Op::maxPool:
      addGradient(input, at::max_pool2d_with_indices_backward(
                             dy, at::empty(saved.inputShape, mapOptions(dy)), {step.kernel, step.kernel},
                             {step.stride, step.stride}, {0, 0}, {1, 1}, false, saved.indices));
      return;
    case Op::averagePool:
      addGradient(input, at::avg_pool2d_backward(dy, at::empty(saved.inputShape, mapOptions(dy)),
                                                 {step.kernel, step.kernel}, {step.stride, step.stride}, {0, 0}, false,
                                                 true, c10::nullopt));
      return;
    case Op::flatten:
      addGradient(input, dy.view({dy.size(0), dy.size(1), 1, 1}));
      return;
    case Op::softmaxCrossEntropy:
      break;
  }
  throw std::logic_error(step.name + " has no backward step");
}

void Replica::addGradient(int value, at::Tensor gradient) {
  // The image has no use for one.
  if (!gradient.defined() || value == 0) return;
  auto& sum = gradients_[value];
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (isSole(sum)) {
    sum.add_(gradient);
  } else {
    sum = at::add(sum, gradient);
  }
}

void Replica::free(const std::vector<int>& values) {
  for (const auto value : values) values_[value].reset();
}

Memory Replica::memory() const {
  Memory memory;
  const auto count = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    memory.tensors++;
    memory.bytes += static_cast<int64_t>(tensor.nbytes());
  };
  for (const auto& value : values_) count(value);
  for (const auto& gradient : gradients_) count(gradient);
  for (const auto& saved : saved_) {
    for (const auto* tensor : {&saved.mean, &saved.inverseDeviation, &saved.indices}) count(*tensor);
  }
  return memory;
}

bool Replica::recompute(int value) {
  const auto position = recomputedBy_[value];
  if (position < 0) return false;
  const auto& step = plan_.steps[position];
  values_[value] = fusedNormaliseAgain(step, values_[step.inputs[0]], vectors_, saved_[position]);
  return true;
}
