#include "fused_batch_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>

#include <cmath>
#include <functional>

#include "cuda/kernels.h"
#include "kernels/kernels.h"
#include "operations.h"
#include "shared_statistics.h"

namespace {

/** Calls body(thread, first row, rows) once a thread, each with its own rows: the same rows for the same threads. */
void forThreads(int64_t rows, const std::function<void(int64_t, int64_t, int64_t)>& body) {
  const int64_t threads = at::get_num_threads();
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (auto thread = begin; thread < end; thread++) {
      const auto first = rows * thread / threads;
      body(thread, first, rows * (thread + 1) / threads - first);
    }
  });
}

/** Two sums by channel, one pair a thread, added up in the order of the threads. */
class ChannelSums {
 public:
  explicit ChannelSums(int64_t channels)
      : channels_(channels), values_(static_cast<size_t>(2 * channels * at::get_num_threads())) {}

  double* first(int64_t thread) { return values_.data() + 2 * channels_ * thread; }
  double* second(int64_t thread) { return first(thread) + channels_; }

  void reduce() {
    const auto length = static_cast<size_t>(2 * channels_);
    for (size_t i = length; i < values_.size(); i++) values_[i % length] += values_[i];
  }

  /** After `reduce`, the sums as tensors that live as long as this does. */
  at::Tensor firsts() { return at::from_blob(first(0), {channels_}, at::kDouble); }
  at::Tensor seconds() { return at::from_blob(second(0), {channels_}, at::kDouble); }

 private:
  int64_t channels_;
  std::vector<double> values_;
};

const float* floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }
const double* doubles(const at::Tensor& tensor) { return tensor.data_ptr<double>(); }

struct Layer {
  int64_t channels;
  const float* gamma;
  const float* beta;
  float* runningMean;
  float* runningVariance;

  Layer(const Step& step, const Vectors& vectors)
      : channels(step.weight->size),
        gamma(floats(vectors.parameters) + step.weight->offset),
        beta(floats(vectors.parameters) + step.bias->offset),
        runningMean(vectors.statistics.data_ptr<float>() + step.statisticsOffset),
        runningVariance(runningMean + channels) {}
};

/** The map that normalisation with these statistics is. */
struct Coefficients {
  std::vector<float> scale;
  std::vector<float> offset;

  Coefficients(const Layer& layer, const float* mean, const float* inverseDeviation)
      : scale(layer.channels), offset(layer.channels) {
    for (int64_t c = 0; c < layer.channels; c++) {
      const double s = static_cast<double>(layer.gamma[c]) * inverseDeviation[c];
      scale[c] = static_cast<float>(s);
      offset[c] = static_cast<float>(layer.beta[c] - s * mean[c]);
    }
  }

  Affine affine(bool relu) const { return {static_cast<int64_t>(scale.size()), scale.data(), offset.data(), relu}; }
};

int64_t rowsOf(const at::Tensor& map) { return map.numel() / map.size(1); }

at::Tensor countOf(const at::Tensor& map) { return at::scalar_tensor(static_cast<double>(rowsOf(map)), at::kDouble); }

at::Tensor apply(const Affine& affine, const at::Tensor& x, const at::Tensor& residual) {
  auto y = at::empty_like(x);
  forThreads(rowsOf(x), [&](int64_t, int64_t first, int64_t rows) {
    const auto start = first * affine.channels;
    kernels().batchNorm->forward(affine, rows, floats(x) + start, residual.defined() ? floats(residual) + start : nullptr,
                                 y.data_ptr<float>() + start);
  });
  return y;
}

/** Of the pass. */
Moments fusedMoments(const at::Tensor& x) {
  if (x.numel() == 0) return momentsOf(x);
  const auto channels = x.size(1);
  const auto count = static_cast<double>(rowsOf(x));
  // Sums of x - shift lose no digits to a mean far from 0.
  const std::vector<float> shift(floats(x), floats(x) + channels);
  ChannelSums sums(channels);
  forThreads(rowsOf(x), [&](int64_t thread, int64_t first, int64_t size) {
    kernels().batchNorm->moments(size, channels, floats(x) + first * channels, shift.data(), sums.first(thread),
                                 sums.second(thread));
  });
  sums.reduce();
  Moments moments{at::empty({channels}, at::kDouble), at::empty({channels}, at::kDouble), countOf(x)};
  for (int64_t c = 0; c < channels; c++) {
    const auto distance = sums.first(0)[c] / count;
    moments.mean.data_ptr<double>()[c] = shift[c] + distance;
    moments.deviations.data_ptr<double>()[c] = std::max(0.0, sums.second(0)[c] - sums.first(0)[c] * distance);
  }
  return moments;
}

}  // namespace

bool fusedBatchNormServes(const at::Tensor& x) {
  return x.is_cuda() ? cuda::batchNormServes(x) : x.scalar_type() == at::kFloat;
}

at::Tensor fusedNormalise(const Step& step, const at::Tensor& x, const at::Tensor& residual, const Vectors& vectors,
                          Saved& saved) {
  if (x.is_cuda()) return cuda::normalise(step, x, residual, vectors, saved);
  const Layer layer(step, vectors);
  auto moments = fusedMoments(x);
  if (vectors.allGather) moments = momentsOfAll(vectors.allGather, moments);
  const auto count = moments.count.item<double>();
  saved.mean = at::empty({layer.channels}, at::kFloat);
  saved.inverseDeviation = at::empty({layer.channels}, at::kFloat);
  auto* mean = saved.mean.data_ptr<float>();
  auto* inverseDeviation = saved.inverseDeviation.data_ptr<float>();
  for (int64_t c = 0; c < layer.channels; c++) {
    const auto exactMean = doubles(moments.mean)[c];
    const auto deviations = doubles(moments.deviations)[c];
    mean[c] = static_cast<float>(exactMean);
    inverseDeviation[c] = static_cast<float>(1 / std::sqrt(deviations / count + step.epsilon));
    const auto mix = [&](float& running, double value) {
      running = static_cast<float>((1 - step.momentum) * running + step.momentum * value);
    };
    mix(layer.runningMean[c], exactMean);
    // The running variance is the unbiased one, as PyTorch's; of a single value there is none.
    mix(layer.runningVariance[c], deviations / std::max(count - 1, 1.0));
  }
  return apply(Coefficients(layer, mean, inverseDeviation).affine(step.relu), x, residual);
}

at::Tensor fusedNormaliseWithRunning(const Step& step, const at::Tensor& x, const at::Tensor& residual,
                                     const Vectors& vectors) {
  if (x.is_cuda()) return cuda::normaliseWithRunning(step, x, residual, vectors);
  const Layer layer(step, vectors);
  std::vector<float> inverseDeviation(layer.channels);
  for (int64_t c = 0; c < layer.channels; c++) {
    inverseDeviation[c] = static_cast<float>(1 / std::sqrt(layer.runningVariance[c] + step.epsilon));
  }
  return apply(Coefficients(layer, layer.runningMean, inverseDeviation.data()).affine(step.relu), x, residual);
}

at::Tensor fusedNormaliseAgain(const Step& step, const at::Tensor& x, const Vectors& vectors, const Saved& saved) {
  if (x.is_cuda()) return cuda::normaliseAgain(step, x, vectors, saved);
  const Layer layer(step, vectors);
  return apply(Coefficients(layer, floats(saved.mean), floats(saved.inverseDeviation)).affine(step.relu), x, {});
}

at::Tensor fusedNormaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& y, at::Tensor& dy,
                                  double factor, const Vectors& vectors, const Saved& saved) {
  if (x.is_cuda()) return cuda::normaliseBackward(step, x, y, dy, factor, vectors, saved);
  const Layer layer(step, vectors);
  const auto channels = layer.channels;
  const auto rows = rowsOf(x);
  const auto* mean = floats(saved.mean);
  const auto* inverseDeviation = floats(saved.inverseDeviation);
  const Coefficients coefficients(layer, mean, inverseDeviation);
  const auto affine = coefficients.affine(step.relu);
  // Others may still read dy, unless it is overwritten or this is its last reader.
  if (y.defined() && !isSole(dy)) dy = dy.clone();
  ChannelSums sums(channels);
  forThreads(rows, [&](int64_t thread, int64_t first, int64_t size) {
    const auto start = first * channels;
    kernels().batchNorm->gradientSums(affine, size, floats(x) + start, mean, y.defined() ? floats(y) + start : nullptr,
                                      dy.data_ptr<float>() + start, sums.first(thread), sums.second(thread));
  });
  sums.reduce();

  auto all = GradientSums{sums.firsts(), sums.seconds(), countOf(x)};
  if (vectors.allGather) all = gradientSumsOfAll(vectors.allGather, all);
  const auto count = all.count.item<double>();
  // With g scaled by the factor: dx = gamma * r * (g - mean(g) - (x - m) * r^2 * mean(g * (x - m))), r = 1 / deviation.
  std::vector<float> a(channels), b(channels), c(channels);
  auto* dGamma = vectors.gradient.data_ptr<float>() + step.weight->offset;
  auto* dBeta = vectors.gradient.data_ptr<float>() + step.bias->offset;
  for (int64_t k = 0; k < channels; k++) {
    const double r = inverseDeviation[k];
    const auto scale = factor * layer.gamma[k] * r;
    a[k] = static_cast<float>(scale);
    b[k] = static_cast<float>(-scale * r * r * doubles(all.product)[k] / count);
    c[k] = static_cast<float>(-scale * doubles(all.gradient)[k] / count);
    // Of this worker's samples alone: gradients are added up later.
    dGamma[k] += static_cast<float>(factor * r * sums.second(0)[k]);
    dBeta[k] += static_cast<float>(factor * sums.first(0)[k]);
  }
  const auto inPlace = !y.defined() && isSole(dy);
  auto dx = inPlace ? dy : at::empty_like(x);
  forThreads(rows, [&](int64_t, int64_t first, int64_t size) {
    const auto start = first * channels;
    kernels().batchNorm->inputGradient(affine, size, floats(x) + start, mean, floats(dy) + start, y.defined(), a.data(),
                                       b.data(), c.data(), dx.data_ptr<float>() + start);
  });
  return dx;
}
