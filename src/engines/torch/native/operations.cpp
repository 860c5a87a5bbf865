#include "operations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/sum.h>

#include "shared_statistics.h"

namespace {

struct RunningStatistics {
  at::Tensor mean;
  at::Tensor variance;
};

RunningStatistics runningStatistics(const Step& step, const at::Tensor& statistics) {
  const auto channels = step.weight->size;
  return {statistics.narrow(0, step.statisticsOffset, channels),
          statistics.narrow(0, step.statisticsOffset + channels, channels)};
}

at::Tensor biasOf(const Step& step, const at::Tensor& vector) {
  return step.bias ? viewOf(vector, *step.bias) : at::Tensor();
}

void putGradient(const Vectors& vectors, const Parameter& parameter, const at::Tensor& values) {
  auto gradient = viewOf(vectors.gradient, parameter);
  if (vectors.accumulates) {
    gradient.add_(values);
  } else {
    gradient.copy_(values);
  }
}

/** By channel, as an operand of maps. */
at::Tensor perChannel(const at::Tensor& values) { return values.view({1, -1, 1, 1}); }

at::Tensor normaliseTogether(const Step& step, const at::Tensor& x, const Vectors& vectors, Saved& saved) {
  const auto moments = momentsOfAll(vectors.allGather, momentsOf(x));
  const auto type = vectors.parameters.scalar_type();
  saved.mean = moments.mean.to(type);
  saved.inverseDeviation = (moments.deviations / moments.count + step.epsilon).rsqrt().to(type);
  auto [mean, variance] = runningStatistics(step, vectors.statistics);
  mean.lerp_(saved.mean, step.momentum);
  variance.lerp_((moments.deviations / (moments.count - 1).clamp_min(1)).to(type), step.momentum);
  const auto scale = saved.inverseDeviation * viewOf(vectors.parameters, *step.weight);
  const auto y = (x.to(type) - perChannel(saved.mean)) * perChannel(scale) +
                 perChannel(viewOf(vectors.parameters, *step.bias));
  return y.to(x.scalar_type());
}

/** With g = dy, d = x - mean, r = 1 / deviation: dx = gamma * r * (g - mean(g) - d * r^2 * mean(g * d)), means of all. */
at::Tensor normaliseTogetherBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy,
                                     const Vectors& vectors, const Saved& saved) {
  const auto type = vectors.parameters.scalar_type();
  const auto d = x.to(type) - perChannel(saved.mean);
  const auto g = dy.to(type);
  const auto r = saved.inverseDeviation;
  const auto sumOf = [](const at::Tensor& map) { return map.to(at::kDouble).sum(at::IntArrayRef{0, 2, 3}); };
  const GradientSums own{sumOf(g), sumOf(g * d), momentsOf(x).count};
  const auto all = gradientSumsOfAll(vectors.allGather, own);
  putGradient(vectors, *step.weight, own.product * r);
  putGradient(vectors, *step.bias, own.gradient);
  const auto mean = (all.gradient / all.count).to(type);
  const auto slope = (all.product / all.count).to(type) * r * r;
  const auto scale = viewOf(vectors.parameters, *step.weight) * r;
  return (perChannel(scale) * (g - perChannel(mean) - d * perChannel(slope))).to(x.scalar_type());
}

}  // namespace

at::Tensor viewOf(const at::Tensor& vector, const Parameter& parameter) {
  const auto& shape = parameter.shape;
  const auto values = vector.narrow(0, parameter.offset, parameter.size);
  if (shape.size() != 4) return values.view(shape);
  return values.view({shape[0], shape[2], shape[3], shape[1]}).permute({0, 3, 1, 2});
}

bool isSole(const at::Tensor& tensor) { return tensor.use_count() == 1 && tensor.storage().use_count() == 1; }

at::Tensor convolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters) {
  return at::convolution(x, viewOf(parameters, *step.weight), biasOf(step, parameters), {step.stride, step.stride},
                         {step.padding, step.padding}, {1, 1}, false, {0, 0}, 1);
}

at::Tensor convolveBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                            bool wanted) {
  std::vector<int64_t> biasShape;
  if (step.bias) biasShape = step.bias->shape;
  const auto [dx, dw, db] = at::convolution_backward(
      dy, x, viewOf(vectors.operands, *step.weight), biasShape, {step.stride, step.stride},
      {step.padding, step.padding}, {1, 1}, false, {0, 0}, 1, {wanted, true, step.bias.has_value()});
  putGradient(vectors, *step.weight, dw);
  if (step.bias) putGradient(vectors, *step.bias, db);
  return dx;
}

at::Tensor linear(const Step& step, const at::Tensor& x, const at::Tensor& parameters) {
  return at::addmm(biasOf(step, parameters), x, viewOf(parameters, *step.weight).t());
}

at::Tensor linearBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors) {
  putGradient(vectors, *step.weight, at::mm(dy.t(), x));
  putGradient(vectors, *step.bias, at::sum(dy, {0}));
  return at::mm(dy, viewOf(vectors.operands, *step.weight));
}

at::Tensor normalise(const Step& step, const at::Tensor& x, const Vectors& vectors, Saved& saved) {
  if (vectors.allGather) return normaliseTogether(step, x, vectors, saved);
  auto [mean, variance] = runningStatistics(step, vectors.statistics);
  // Of a single value there is no unbiased variance: the biased one, 0, takes its place.
  const auto single = x.numel() == x.size(1);
  const auto mixed = single ? variance.mul(1 - step.momentum) : at::Tensor();
  at::Tensor y;
  std::tie(y, saved.mean, saved.inverseDeviation) =
      at::native_batch_norm(x, viewOf(vectors.parameters, *step.weight), biasOf(step, vectors.parameters), mean,
                            variance, true, step.momentum, step.epsilon);
  if (single) variance.copy_(mixed);
  return y;
}

at::Tensor normaliseWithRunning(const Step& step, const at::Tensor& x, const Vectors& vectors) {
  const auto [mean, variance] = runningStatistics(step, vectors.statistics);
  return std::get<0>(at::native_batch_norm(x, viewOf(vectors.parameters, *step.weight),
                                           biasOf(step, vectors.parameters), mean, variance, false, step.momentum,
                                           step.epsilon));
}

at::Tensor normaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                             const Saved& saved) {
  if (vectors.allGather) return normaliseTogetherBackward(step, x, dy, vectors, saved);
  const auto [mean, variance] = runningStatistics(step, vectors.statistics);
  const auto [dx, dGamma, dBeta] =
      at::native_batch_norm_backward(dy, x, viewOf(vectors.parameters, *step.weight), mean, variance, saved.mean,
                                     saved.inverseDeviation, true, step.epsilon, {true, true, true});
  putGradient(vectors, *step.weight, dGamma);
  putGradient(vectors, *step.bias, dBeta);
  return dx;
}
