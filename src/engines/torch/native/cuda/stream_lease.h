// Streams that are lent, and lent again.

#pragma once

#include <c10/cuda/CUDAStream.h>

namespace cuda {

/** What its kernels are, to those of other streams that wait for a place on the device. */
enum class Priority { normal, high };

/**
 * A stream of one's own, taken from those that others have given back: cuBLAS keeps a workspace for every stream that it
 * ever saw, 32 MiB on Hopper.
 */
class StreamLease {
 public:
  explicit StreamLease(int device, Priority priority = Priority::normal);
  ~StreamLease();
  StreamLease(const StreamLease&) = delete;
  c10::cuda::CUDAStream stream() const { return stream_; }

 private:
  const Priority priority_;
  const c10::cuda::CUDAStream stream_;
};

}  // namespace cuda
