#include "loss.h"

#include <ATen/ops/empty_like.h>

#include <cmath>

namespace {

/** Largest logit, and its class: -1 where no logit is a number. */
template <typename T>
std::pair<double, int32_t> largest(const T* logits, int64_t classes) {
  double maximum = -INFINITY;
  int32_t prediction = -1;
  for (int64_t c = 0; c < classes; c++) {
    if (logits[c] > maximum) {
      maximum = logits[c];
      prediction = static_cast<int32_t>(c);
    }
  }
  return {maximum, prediction};
}

template <typename T>
double sumOfExponentials(const T* logits, int64_t classes, double maximum) {
  double sum = 0;
  for (int64_t c = 0; c < classes; c++) sum += std::exp(logits[c] - maximum);
  return sum;
}

template <typename T>
Loss lossOf(const at::Tensor& logits, const Batch& batch, const LossOptions& options) {
  const auto classes = logits.size(1);
  Loss loss{.result = {}, .gradient = at::empty_like(logits)};
  const auto spread = options.smoothing / static_cast<double>(classes);
  for (int64_t i = 0; i < batch.size; i++) {
    const auto* row = logits.data_ptr<T>() + i * classes;
    auto* gradient = loss.gradient.data_ptr<T>() + i * classes;
    const auto label = batch.labels[batch.indices[i]];
    const auto [maximum, prediction] = largest(row, classes);
    const auto sum = sumOfExponentials(row, classes, maximum);
    const auto logSum = maximum + std::log(sum);
    for (int64_t c = 0; c < classes; c++) {
      const auto target = spread + (c == label ? 1 - options.smoothing : 0);
      gradient[c] = static_cast<T>(options.weight * (std::exp(row[c] - maximum) / sum - target));
      if (target > 0) loss.result.lossSum += target * (logSum - row[c]);
    }
    loss.result.correct += prediction == label;
  }
  return loss;
}

template <typename T>
PassResult classifyAs(const at::Tensor& logits, const Batch& batch, int32_t* predictions) {
  const auto classes = logits.size(1);
  PassResult result;
  for (int64_t i = 0; i < batch.size; i++) {
    const auto* row = logits.data_ptr<T>() + i * classes;
    const auto label = batch.labels[batch.indices[i]];
    const auto [maximum, prediction] = largest(row, classes);
    predictions[i] = prediction;
    result.lossSum += maximum + std::log(sumOfExponentials(row, classes, maximum)) - row[label];
    result.correct += prediction == label;
  }
  return result;
}

}  // namespace

Loss softmaxCrossEntropy(const at::Tensor& logits, const Batch& batch, const LossOptions& options) {
  return logits.scalar_type() == at::kDouble ? lossOf<double>(logits, batch, options)
                                             : lossOf<float>(logits, batch, options);
}

PassResult classify(const at::Tensor& logits, const Batch& batch, int32_t* predictions) {
  return logits.scalar_type() == at::kDouble ? classifyAs<double>(logits, batch, predictions)
                                             : classifyAs<float>(logits, batch, predictions);
}
