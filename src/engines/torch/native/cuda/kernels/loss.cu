// Softmax cross-entropy, a warp a sample, and the end of a step: losses to totals.

#include "arguments.h"
#include "device.cuh"

namespace {

constexpr uint32_t WARP = 0xffffffffu;

/** By exchange, so that every lane has the same sum. */
__device__ inline float warpTotal(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(WARP, value, distance);
  return value;
}

struct Largest {
  float logit;
  /** The first of this size; -1 where no logit is a number. */
  int32_t position;
};

__device__ inline Largest warpLargest(Largest own) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const Largest other = {__shfl_xor_sync(WARP, own.logit, distance), __shfl_xor_sync(WARP, own.position, distance)};
    // Unsigned, -1 is behind every position.
    const bool before = static_cast<uint32_t>(other.position) < static_cast<uint32_t>(own.position);
    if (other.logit > own.logit || (other.logit == own.logit && before)) own = other;
  }
  return own;
}

template <typename T>
__device__ inline float logitAt(const T* logits, int64_t i) {
  float value[1];
  load<1>(logits + i).unpack(value);
  return value[0];
}

template <typename T>
__device__ inline void crossEntropy(const LossArguments& arguments) {
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * LOSS_SAMPLES + threadIdx.x / 32;
  if (sample >= arguments.samples) return;
  const int lane = threadIdx.x % 32;
  const int classes = static_cast<int>(arguments.classes);
  const T* row = static_cast<const T*>(arguments.logits) + sample * classes;
  const int label = arguments.labels[arguments.indices[sample]];

  Largest own = {-__int_as_float(0x7f800000), -1};
  for (int c = lane; c < classes; c += 32) {
    const float logit = logitAt(row, c);
    if (logit > own.logit) own = {logit, c};
  }
  const Largest largest = warpLargest(own);
  float part = 0;
  for (int c = lane; c < classes; c += 32) part += expf(logitAt(row, c) - largest.logit);
  const float sum = warpTotal(part);
  const float logSum = logf(sum);

  const float spread = arguments.smoothing / static_cast<float>(classes);
  float loss = 0;
  for (int c = lane; c < classes; c += 32) {
    const float logit = logitAt(row, c);
    const float target = spread + (c == label ? 1 - arguments.smoothing : 0);
    if (target > 0) loss += target * (logSum + (largest.logit - logit));
    if (arguments.gradient) {
      const float gradient[1] = {arguments.weight * (expf(logit - largest.logit) / sum - target)};
      store(static_cast<T*>(arguments.gradient) + sample * classes + c, gradient);
    }
  }
  loss = warpTotal(loss);
  if (lane != 0) return;
  arguments.losses[sample] = loss;
  arguments.hits[sample] = largest.position == label ? 1 : 0;
  if (arguments.predictions) arguments.predictions[sample] = largest.position;
}

__device__ inline double sumOf(const float* values, int64_t count) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += values[i];
  return blockSum(sum);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(32 * LOSS_SAMPLES) crossEntropy_float(const LossArguments arguments) {
  crossEntropy<float>(arguments);
}

extern "C" __global__ void __launch_bounds__(32 * LOSS_SAMPLES) crossEntropy_bfloat16(const LossArguments arguments) {
  crossEntropy<bfloat16>(arguments);
}

/** One block. */
extern "C" __global__ void __launch_bounds__(SUM_THREADS) finishStep(const FinishArguments arguments) {
  const double lossSum = sumOf(arguments.losses, arguments.samples);
  const double correct = sumOf(arguments.hits, arguments.samples);
  const bool skipped = *arguments.nonFinite;
  if (skipped) {
    for (int64_t i = threadIdx.x; i < arguments.statisticsLength; i += SUM_THREADS) {
      arguments.statistics[i] = arguments.statisticsBefore[i];
    }
  }
  if (threadIdx.x != 0) return;
  StepTotals& totals = *arguments.totals;
  if (skipped) {
    totals.skipped += 1;
    totals.skippedInARow += 1;
  } else {
    totals.lossSum += lossSum;
    totals.correct += correct;
    totals.samples += static_cast<double>(arguments.samples);
    totals.iterations += 1;
    totals.skippedInARow = 0;
  }
}
