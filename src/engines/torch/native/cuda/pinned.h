// Memory of the host that is page-locked where it lies, so that copies between it and a GPU need no copy in between, and
// the host need not wait for each.

#pragma once

#include <c10/core/Device.h>

#include <cstddef>

namespace cuda {

/**
 * The whole pages of a range are locked, for all GPUs of the process, as long as anybody holds it; several may hold the same
 * one. Where that cannot be had (too little memory may be locked, or a part is locked already), it stays as it is. The
 * memory must be there for as long.
 */
class Pinned {
 public:
  Pinned(c10::DeviceIndex device, void* start, size_t bytes);
  ~Pinned();
  Pinned(const Pinned&) = delete;

 private:
  const c10::DeviceIndex device_;
  void* const start_;
  const size_t bytes_;
};

/**
 * Launches a copy of a range that may be pinned, on the current stream; to the host, it waits where nothing is. In parts,
 * because of the first and the last page: CUDA takes no range that is locked in part.
 */
void copyToDevice(void* device, const void* host, size_t bytes);
void copyToHost(void* host, const void* device, size_t bytes);

}  // namespace cuda
