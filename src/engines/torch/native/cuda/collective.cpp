#include "collective.h"

#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/cuda/nccl.h>

#include <cstring>
#include <vector>

namespace cuda {
namespace {

namespace nccl = torch::cuda::nccl;

void allReduce(void* communicator, at::Tensor& values, nccl::ncclRedOp operation) {
  std::vector<at::Tensor> inOut = {values};
  nccl::all_reduce(inOut, inOut, static_cast<int32_t>(operation), {c10::cuda::getCurrentCUDAStream()}, {communicator});
}

}  // namespace

GroupId makeGroupId() {
  nccl::ncclUniqueId id;
  nccl::get_unique_id(id);
  GroupId result;
  static_assert(sizeof(id.internal) == std::tuple_size_v<GroupId>);
  std::memcpy(result.data(), id.internal, result.size());
  return result;
}

Group::Group(const GroupId& id, int rank, int worldSize) {
  nccl::ncclUniqueId native;
  std::memcpy(native.internal, id.data(), id.size());
  communicator_ = nccl::comm_init_rank(worldSize, native, rank);
}

Group::~Group() {
  try {
    nccl::comm_destroy(communicator_);
  } catch (...) {
    // A group whose other members are gone cannot be left in order.
  }
}

void Group::sum(at::Tensor& values) { allReduce(communicator_, values, nccl::ncclRedOp::Sum); }

void Group::maximum(at::Tensor& values) { allReduce(communicator_, values, nccl::ncclRedOp::Max); }

}  // namespace cuda
