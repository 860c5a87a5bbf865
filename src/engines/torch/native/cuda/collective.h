// What the replicas of several GPUs do together, by NCCL: sums of gradients, and numbers of all for all.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>

#include <array>
#include <cstdint>

#include "stream_lease.h"

namespace cuda {

/** What the members of a group find each other by: made by one of them, known to all. */
using GroupId = std::array<char, 128>;

GroupId makeGroupId();

/**
 * Membership in a group of one device each. Collectives run on a stream of the group's own, in the order in which they are
 * launched, which must be the same for all members. Each begins when the current stream has done what it was given before;
 * what that is given afterwards runs beside it, and behind it from `join` on. A graph that is recorded holds all of this,
 * where `join` is called before the recording ends.
 */
class Group {
 public:
  /** On the current device. Blocks until all have joined; no collective may be launched before all of them have. */
  Group(const GroupId& id, int rank, int worldSize);
  ~Group();
  Group(const Group&) = delete;

  int worldSize() const { return worldSize_; }

  /** Ends all that waits for the others, and the membership. */
  void abort();
  /** Waits for what was launched. */
  void synchronise();

  // Tensors must be alive until `join`, and may be freed behind it: their memory is the current stream's, which gives it
  // to nobody before the collective is over. So the allocator need not be told of the other stream; what it is told of
  // (recordStream), it would keep from a graph until the recording has ended.

  /** Adds up, in place. */
  void sum(at::Tensor values);
  /** The largest of each number, likewise. */
  void maximum(at::Tensor values);
  /** Float64 [n] of each to [worldSize, n], by rank; joins. */
  at::Tensor gather(const at::Tensor& own);

  /** What the current stream is given from here on waits for all collectives. */
  void join();

 private:
  /** Launches what is given a communicator, on the stream of the group. */
  template <typename Body>
  void launch(Body body);
  void reduce(at::Tensor& values, int operation);

  const int worldSize_;
  const StreamLease lease_;
  const c10::cuda::CUDAStream stream_;
  at::cuda::CUDAEvent before_{cudaEventDisableTiming};
  at::cuda::CUDAEvent behind_{cudaEventDisableTiming};
  /** Whether anything was launched since the last `join`. */
  bool forked_ = false;
  /** Null behind `abort`. */
  void* communicator_;
};

}  // namespace cuda
