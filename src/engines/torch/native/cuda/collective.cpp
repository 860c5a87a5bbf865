#include "collective.h"

#include <c10/cuda/CUDAStream.h>
#include <dlfcn.h>
#include <torch/csrc/cuda/nccl.h>

#include <cstring>
#include <stdexcept>
#include <vector>

namespace cuda {
namespace {

namespace nccl = torch::cuda::nccl;

void allReduce(void* communicator, at::Tensor& values, nccl::ncclRedOp operation) {
  if (communicator == nullptr) throw std::logic_error("expected a group that was not left");
  std::vector<at::Tensor> inOut = {values};
  nccl::all_reduce(inOut, inOut, static_cast<int32_t>(operation), {c10::cuda::getCurrentCUDAStream()}, {communicator});
}

/** libtorch's own wrapper never frees a communicator; so the function of the NCCL that libtorch has loaded. */
void end(void* communicator, const char* function) {
  auto* library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_NOLOAD);
  // Where NCCL is linked statically, nothing can be done, and nothing is harmed but some memory.
  auto* symbol = dlsym(library ? library : RTLD_DEFAULT, function);
  if (symbol != nullptr) reinterpret_cast<int (*)(void*)>(symbol)(communicator);
  if (library != nullptr) dlclose(library);
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
  if (communicator_ != nullptr) end(communicator_, "ncclCommDestroy");
}

void Group::abort() {
  if (communicator_ != nullptr) end(communicator_, "ncclCommAbort");
  communicator_ = nullptr;
}

void Group::sum(at::Tensor& values) { allReduce(communicator_, values, nccl::ncclRedOp::Sum); }

void Group::maximum(at::Tensor& values) { allReduce(communicator_, values, nccl::ncclRedOp::Max); }

}  // namespace cuda
