#include "collective.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAFunctions.h>
#include <dlfcn.h>
#include <torch/csrc/cuda/nccl.h>

#include <cstring>
#include <stdexcept>
#include <vector>

namespace cuda {
namespace {

namespace nccl = torch::cuda::nccl;

/** Of the NCCL that libtorch has loaded; null where NCCL is linked statically. */
void* findFunction(const char* name) {
  auto* library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_NOLOAD);
  auto* function = dlsym(library ? library : RTLD_DEFAULT, name);
  // libtorch keeps it.
  if (library != nullptr) dlclose(library);
  return function;
}

/** libtorch's own wrapper never frees a communicator. Where the function cannot be had, nothing is harmed but some memory. */
void end(void* communicator, const char* name) {
  if (auto* function = findFunction(name)) reinterpret_cast<int (*)(void*)>(function)(communicator);
}

/** libtorch's own wrapper takes a group for the tensors that it is given, and so an output for as long as its input. */
void allGather(const at::Tensor& own, at::Tensor& all, void* communicator, cudaStream_t stream) {
  using Function = nccl::ncclResult (*)(const void*, void*, size_t, nccl::ncclDataType, void*, cudaStream_t);
  static const auto function = reinterpret_cast<Function>(findFunction("ncclAllGather"));
  if (function == nullptr) throw std::runtime_error("expected the NCCL of libtorch as a library of its own");
  nccl::detail::NCCL_CHECK(function(own.data_ptr(), all.data_ptr(), static_cast<size_t>(own.numel()),
                                    nccl::ncclDataType::Float64, communicator, stream));
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

Group::Group(const GroupId& id, int rank, int worldSize)
    : worldSize_(worldSize), lease_(c10::cuda::current_device(), Priority::high), stream_(lease_.stream()) {
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

void Group::synchronise() { stream_.synchronize(); }

template <typename Body>
void Group::launch(Body body) {
  if (communicator_ == nullptr) throw std::logic_error("expected a group that was not left");
  before_.record();
  before_.block(stream_);
  forked_ = true;
  body(communicator_);
}

void Group::reduce(at::Tensor& values, int operation) {
  launch([&](void* communicator) {
    std::vector<at::Tensor> inOut = {values};
    nccl::all_reduce(inOut, inOut, operation, {stream_}, {communicator});
  });
}

void Group::sum(at::Tensor values) { reduce(values, static_cast<int>(nccl::ncclRedOp::Sum)); }

void Group::maximum(at::Tensor values) { reduce(values, static_cast<int>(nccl::ncclRedOp::Max)); }

at::Tensor Group::gather(const at::Tensor& own) {
  auto all = at::empty({worldSize_, own.numel()}, own.options());
  launch([&](void* communicator) { allGather(own, all, communicator, stream_); });
  join();
  return all;
}

void Group::join() {
  if (!forked_) return;
  forked_ = false;
  behind_.record(stream_);
  behind_.block(c10::cuda::getCurrentCUDAStream());
}

}  // namespace cuda
