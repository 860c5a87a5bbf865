// Streams that are lent to replicas, and lent again.

#pragma once

#include <c10/cuda/CUDAStream.h>

namespace cuda {

/**
 * A stream of one's own, taken from those that others have given back: cuBLAS keeps a workspace for every stream that it
 * ever saw, 32 MiB on Hopper.
 */
class StreamLease {
 public:
  explicit StreamLease(int device);
  ~StreamLease();
  StreamLease(const StreamLease&) = delete;
  c10::cuda::CUDAStream stream() const { return stream_; }

 private:
  c10::cuda::CUDAStream stream_;
};

}  // namespace cuda
