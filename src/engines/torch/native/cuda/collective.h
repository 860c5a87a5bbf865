// Sums over the replicas of several GPUs, by NCCL.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace cuda {

/** What the members of a group find each other by: made by one of them, known to all. */
using GroupId = std::array<char, 128>;

GroupId makeGroupId();

/** Membership in a group of one device each. */
class Group {
 public:
  /** On the current device. Blocks until all have joined; no collective may be launched before all of them have. */
  Group(const GroupId& id, int rank, int worldSize);
  ~Group();
  Group(const Group&) = delete;

  /** Ends all that waits for the others, and the membership. */
  void abort();

  /** Launches the sum, in place, on the current stream. */
  void sum(at::Tensor& values);
  /** The largest of each number, likewise. */
  void maximum(at::Tensor& values);

 private:
  /** Null behind `abort`. */
  void* communicator_;
};

}  // namespace cuda
