// A replica of a model on one device: walks the steps of its plan forward, then backward. No autograd, no tape. Owned by
// one thread; devices and element types are those of its vectors.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "assembly.h"
#include "plan.h"

struct Loss;
struct LossOptions;

struct PassResult {
  double lossSum = 0;
  int64_t correct = 0;
};

/**
 * What all workers give, [worldSize, own.numel()], by rank; float64, on the replica's device. Blocks the thread, or on a
 * GPU the stream, until all have called it, with as many numbers: all call it as often, in the same order.
 */
using AllGather = std::function<at::Tensor(const at::Tensor& own)>;

/** The flat vectors, on the replica's device; laid out by the graph. All but `operands` are of one element type. */
struct Vectors {
  at::Tensor parameters;
  at::Tensor gradient;
  at::Tensor statistics;
  /** What convolutions and linear layers multiply by, of the element type of the maps: the parameters, or copies of them. */
  at::Tensor operands = {};
  /** Whether what is found is added to the gradient, or takes its place. */
  bool accumulates = true;
  /** On GPUs: int32 [COUNTERS], all 0 between two kernels; without them, the kernels that count make their own. */
  at::Tensor counters = {};
  /** Where batch norms take their statistics over the passes of all workers: by it. */
  AllGather allGather = {};
};

/** What the backward computation of a step needs besides the values: saved by its forward computation. */
struct Saved {
  /** Batch norm: mean and 1 / sqrt(variance + epsilon) of the pass. */
  at::Tensor mean;
  at::Tensor inverseDeviation;
  /** Max pool: where each maximum was. */
  at::Tensor indices;
  /** Pools: the shape of their input. */
  std::vector<int64_t> inputShape;
};

/** One step of a gradient call, as it ran. */
struct Timing {
  /** Position of the step in the plan; -1: the batch, from bytes to pixels. */
  int position;
  bool backward;
  /** In microseconds since the call began. */
  double start;
  double duration;
};

struct Memory {
  int64_t tensors = 0;
  int64_t bytes = 0;
};

struct ReplicaOptions {
  /** Share of the target that is spread evenly over the classes. */
  double labelSmoothing = 0;
  /** Every step of a gradient call is timed. */
  bool profiled = false;
  /** Batch norms go by ATen's operations alone, as the oracle of our own kernels: for plans in which nothing is fused. */
  bool plain = false;
  /**
   * Called behind each step of the last pass's backward sweep, with its position in the plan: nothing more is added to
   * what it and the steps behind it have in the gradient. Not at all where that pass is not swept.
   */
  std::function<void(size_t)> completed = {};
};

class Replica {
 public:
  Replica(Plan plan, Vectors vectors, const Normalisation& normalisation, const ReplicaOptions& options);

  /**
   * Overwrites the gradient with the sum over the passes of (size / batchSize) * the gradient of the pass's mean loss.
   * Where vectors.allGather is there, all workers have as many passes; they may be empty.
   * `factors`: null, or by layer what the gradient that arrives at its output is multiplied by. On a GPU the pointers of
   * the batches are on it, nothing is waited for, and the result is 0: `samples` has it.
   */
  PassResult gradient(const std::vector<Batch>& passes, int64_t batchSize, const double* factors);

  /**
   * `predictions` [batch.size]: the class of the largest logit, -1 where no logit is a number. On a GPU as above, and
   * `predictions` is on it too.
   */
  PassResult evaluate(const Batch& batch, int32_t* predictions);

  /** On a GPU, of the last call, float32 [2, samples]: each sample's loss, and 1 where its prediction is right. */
  const at::Tensor& samples() const { return samples_; }

  /** Of the last gradient call, where it is profiled. */
  const std::vector<Timing>& timings() const { return timings_; }

  /** What is alive between two calls. */
  Memory memory() const;

 private:
  /** Calls body; what one that fails leaves behind is freed, so that no later call adds to it. */
  template <typename Body>
  PassResult cleanly(Body body);

  at::Tensor upload(const Batch& batch);
  /** Of a pass's logits; `first`: the samples of the passes before it. */
  Loss lossOf(const Batch& batch, const LossOptions& options, int64_t first);
  /** Computes every value but the loss; `training`: with the statistics of the pass. */
  void forward(const Batch& batch, const Freed& freed, bool training);
  /** `last`: no pass comes behind this one. */
  void backward(at::Tensor logitGradient, const double* factors, bool last);
  /** Of a pass without samples: its part in the batch norms, which those of the other workers wait for. */
  void passNothing(bool last);

  at::Tensor forwardStep(size_t position, bool training);
  /** A batch norm in training, and what is fused with it. */
  at::Tensor normaliseStep(const Step& step, const at::Tensor& x, const at::Tensor& residual, Saved& saved);
  void backwardStep(const Step& step, const Saved& saved, at::Tensor dy, double factor);

  /** Runs `body`, and times it where the replica is profiled. */
  template <typename Body>
  void timed(int position, bool backward, Body body);

  /** Adds to the gradient of a value, which has several readers where a residual branch begins. */
  void addGradient(int value, at::Tensor gradient);
  void free(const std::vector<int>& values);
  /** Computes a value again that was freed in the forward sweep; true where it is one. */
  bool recompute(int value);

  bool onGpu() const { return vectors_.parameters.is_cuda(); }
  bool fusesBatchNorm(const at::Tensor& x) const;

  Plan plan_;
  Vectors vectors_;
  PixelTable pixels_;
  /** `pixels_` on a GPU. */
  at::Tensor pixelsOnGpu_;
  at::Tensor samples_;
  ReplicaOptions options_;
  /** By node of the graph. */
  std::vector<at::Tensor> values_;
  std::vector<at::Tensor> gradients_;
  /** By step. */
  std::vector<Saved> saved_;
  /** By value: the position of the step that computes it again; -1 where none does. */
  std::vector<int> recomputedBy_;
  std::chrono::steady_clock::time_point began_;
  std::vector<Timing> timings_;
};
