// A replica whose weights, momentum, S and A live on its GPU, which updates them there. Its steps are launched and not
// waited for; where that was asked for, a step is one CUDA graph. Owned by one thread.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "../replica.h"
#include "collective.h"
#include "layout.h"
#include "stream_lease.h"

namespace cuda {

/** A tensor of the flat vectors. */
struct TensorLayout {
  int64_t offset;
  int64_t size;
  /** LARS gives it a rate of its own. */
  bool adaptive;
};

/** A run of the flat vector, whose gradient is complete behind the backward computation of a step of the plan. */
struct Slice {
  int64_t step;
  int64_t start;
  int64_t end;
};

struct UpdateOptions {
  double momentum = 0;
  bool nesterov = false;
  double weightDecay = 0;
  bool measureWeightDecay = false;
  /** 0: none. */
  double clipNorm = 0;
  /** 0: no LARS. */
  double trust = 0;
  double epsilon = 0;
};

struct DeviceOptions {
  int device = 0;
  /** Whether maps and the operands of convolutions and linear layers are bfloat16; else they are float32. */
  bool bfloat16 = false;
  /** Length of the flat vectors. */
  int64_t parameters = 0;
  int64_t statistics = 0;
  std::vector<TensorLayout> tensors;
  /** In which parts, and in which order, gradients are reduced: all of the vector. */
  std::vector<Slice> slices;
  /** Batch norms take their statistics over the passes of all replicas: by the group, or by this, for tensors on the host. */
  bool syncBatchNorm = false;
  AllGather allGather = {};
  /** Most samples of a step. */
  int64_t capacity = 0;
  /** Whether there are S and A; their part that this replica owns. */
  bool accumulates = false;
  int64_t shardStart = 0;
  int64_t shardEnd = 0;
  UpdateOptions update;
  ReplicaOptions replica;
};

/** Vectors that are the host's. */
struct HostVectors {
  const float* weights;
  float* gradient;
  float* statistics;
};

/**
 * How a step runs: its kernels one by one; not at all, but recorded as a graph; as the graph that was recorded before; or
 * its sweep alone, without the others of the group and without effect.
 */
enum class StepMode { eager, capture, replay, rehearse };

class DeviceReplica {
 public:
  DeviceReplica(Plan plan, const Normalisation& normalisation, DeviceOptions options);
  ~DeviceReplica();
  DeviceReplica(const DeviceReplica&) = delete;

  /** Waits for what was launched, then copies between host and device. */
  void uploadWeights(const float* values);
  void uploadVelocity(const float* values);
  void uploadStatistics(const float* values);
  /** S and A have the shard's length; only where the replica accumulates. */
  void uploadS(const float* values);
  void uploadA(const float* values);
  void downloadWeights(float* values);
  void downloadVelocity(float* values);
  void downloadStatistics(float* values);
  void downloadS(float* values);
  void downloadA(float* values);
  /** Of the last step or gradient call, reduced over the replicas of a group. */
  void downloadGradient(float* values);

  /** Steps from here on add up their gradients with those of the others. Blocks until all have joined. */
  void join(const GroupId& id, int rank, int worldSize);
  /** Leaves the group though its others will never come: ends what waits for them. Of use for nothing behind that. */
  void abandon();

  /**
   * The gradient alone, of the host's weights, waited for; see Replica::gradient. Batches lie on the host, as everywhere in
   * this class. Weights and gradient are copied without a wait in between where they are pinned.
   */
  PassResult gradient(const HostVectors& host, const std::vector<Batch>& passes, int64_t batchSize, const double* factors);
  PassResult evaluate(const HostVectors& host, const Batch& batch, int32_t* predictions);
  /** With the weights and running statistics that are here. */
  PassResult evaluate(const Batch& batch, int32_t* predictions);

  /**
   * Of the steps that follow: `factors`, two a tensor, of gradient and rate, for the update, and `backpropagated`, empty or
   * by layer, for the sweep. The totals go on from `carried`; without it they are cleared, but for the steps skipped in a
   * row.
   */
  void begin(std::span<const double> factors, std::vector<double> backpropagated, std::optional<StepTotals> carried);

  /**
   * Launches a step: gradient, reduction, measures, update. `samples`: of all replicas, whose mean loss the gradient is
   * of. `first`: S and A start from 0, whether or not the step is then skipped.
   *
   * @return the totals as they were a few steps before, waited for: no more steps than that are ever in flight.
   * @throws std::out_of_range where a graph is to be replayed that was not recorded.
   */
  StepTotals step(const std::vector<Batch>& passes, int64_t samples, const StepInput& input, bool first, StepMode mode);

  /** What was recorded is dropped: other factors are on their way. */
  void forget();

  /** Waits for what was launched. */
  StepTotals totals();
  /** How long steps since `begin` waited for those in front of them, in milliseconds. */
  double waited() const { return waited_; }

  /** Four doubles a tensor within the shard; see directionSums. */
  std::vector<double> measure();

  const std::vector<Timing>& timings() const { return replica_.timings(); }
  const Plan& plan() const { return plan_; }
  Memory memory() const { return replica_.memory(); }

 private:
  /** Images and labels of a split, uploaded once. */
  struct Split {
    at::Tensor images;
    at::Tensor labels;
  };
  /** The samples of some passes: where each comes from, and how it is cropped and flipped. */
  struct Block {
    at::Tensor device;
    int64_t capacity = 0;
  };
  /** One of the steps in flight: what was copied to the device, and what came back. */
  struct Slot {
    at::Tensor input;
    at::Tensor totals;
    at::cuda::CUDAEvent done{cudaEventDisableTiming | cudaEventBlockingSync};
  };

  at::TensorOptions on(at::ScalarType type) const;
  Block blockFor(int64_t capacity) const;
  /** Writes input and samples into `host`; batches that point to where they will be on the device. */
  std::vector<Batch> place(const std::vector<Batch>& passes, const StepInput& input, const Block& block, uint8_t* host);
  const Split& split(const Batch& batch);
  /** For what is waited for before it is called again. */
  std::vector<Batch> uploadSamples(const std::vector<Batch>& passes);
  void uploadFrom(const HostVectors& host);
  void makeChunks();
  Chunks chunks() const;
  void refreshOperands();
  /** S or A, of which only the shard is there, by positions of the whole vectors; null where there is none. */
  float* fromShard(const at::Tensor& vector) const;
  /** See Vectors::allGather. */
  AllGather allGather();
  /** Launches the slices that are complete behind a step of the backward sweep, and were not launched before. */
  void reduceBehind(int64_t position);
  /** Calls body, which may launch collectives, and joins them, also where it fails: else no recording could be ended. */
  template <typename Body>
  void together(Body body);
  void sweep(const std::vector<Batch>& passes, int64_t samples);
  void rehearse(const std::vector<Batch>& passes, int64_t samples);
  /** All of a step that runs on the device behind the upload of its input. */
  void run(const std::vector<Batch>& passes, int64_t samples);
  void capture(const std::vector<int64_t>& form, const std::vector<Batch>& passes, int64_t samples);
  /** Frees what a recording that CUDA could not end has taken. */
  void giveUp(std::unique_ptr<at::cuda::CUDAGraph> graph);
  void upload(at::Tensor& vector, const float* values);
  void download(const at::Tensor& vector, float* values);
  PassResult resultOf(int64_t samples);

  const DeviceOptions options_;
  const Plan plan_;
  const StreamLease lease_;
  const c10::cuda::CUDAStream stream_;
  at::Tensor weights_, velocity_, gradient_, statistics_, statisticsBefore_, S_, A_, operands_;
  Replica replica_;
  std::map<const uint8_t*, Split> splits_;
  /** Of the steps; and of what is waited for, which grows, with its pinned copy on the host. */
  Block block_, growing_;
  at::Tensor growingHost_;
  /** One for each step that may be in flight. */
  std::vector<Slot> slots_;
  size_t launched_ = 0;
  double waited_ = 0;
  at::Tensor chunks_, firsts_, partial_, factors_, scales_, gradientNorms_, weightNorms_, nonFinite_, totals_;
  int chunkCount_ = 0;
  std::vector<double> backpropagated_;
  std::unique_ptr<Group> group_;
  /** Whether what is launched now is a part of a step that is taken with the group. */
  bool together_ = false;
  /** Slices of the step's gradient that were launched. */
  size_t reduced_ = 0;
  at::cuda::MempoolId_t pool_;
  /** By what a graph depends on: the sizes of the passes, their split, whether they are augmented. */
  std::map<std::vector<int64_t>, std::unique_ptr<at::cuda::CUDAGraph>> graphs_;
};

}  // namespace cuda
