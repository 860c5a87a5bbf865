#include "pinned.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace cuda {
namespace {

struct Range {
  int holders = 0;
  bool locked = false;
};

/** Never destroyed, since threads may end after the process began to exit. */
struct Ranges {
  std::mutex mutex;
  std::map<std::pair<void*, size_t>, Range> byPlace;
};

Ranges& ranges() {
  static auto* ranges = new Ranges;
  return *ranges;
}

/** Of a range: bytes in front of its first whole page, and of its whole pages. What is on its other pages may be others'. */
struct Pages {
  size_t front;
  size_t whole;
};

Pages pagesOf(const void* start, size_t bytes) {
  static const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto front = std::min(bytes, (page - reinterpret_cast<uintptr_t>(start) % page) % page);
  return {front, (bytes - front) / page * page};
}

/** An error stays CUDA's last one, for whoever asks next, until somebody has asked. */
bool succeeds(cudaError_t result) {
  if (result != cudaSuccess) (void)cudaGetLastError();
  return result == cudaSuccess;
}

void copyInParts(void* to, const void* from, const Pages& pages, size_t bytes, cudaMemcpyKind kind) {
  const auto copy = [&](size_t start, size_t size) {
    if (size == 0) return;
    C10_CUDA_CHECK(cudaMemcpyAsync(static_cast<char*>(to) + start, static_cast<const char*>(from) + start, size, kind,
                                   c10::cuda::getCurrentCUDAStream()));
  };
  const auto [front, whole] = pages;
  copy(front, whole);
  copy(0, front);
  copy(front + whole, bytes - front - whole);
}

}  // namespace

Pinned::Pinned(c10::DeviceIndex device, void* start, size_t bytes) : device_(device), start_(start), bytes_(bytes) {
  auto& [mutex, byPlace] = ranges();
  const std::lock_guard lock(mutex);
  auto& [holders, locked] = byPlace[{start, bytes}];
  const auto [front, whole] = pagesOf(start, bytes);
  if (holders++ > 0 || whole == 0) return;
  const c10::cuda::CUDAGuard guard(device);
  locked = succeeds(cudaHostRegister(static_cast<char*>(start) + front, whole, cudaHostRegisterPortable));
}

Pinned::~Pinned() {
  auto& [mutex, byPlace] = ranges();
  const std::lock_guard lock(mutex);
  const auto found = byPlace.find({start_, bytes_});
  if (--found->second.holders > 0) return;
  const auto locked = found->second.locked;
  byPlace.erase(found);
  if (!locked) return;
  try {
    const c10::cuda::CUDAGuard guard(device_);
    (void)succeeds(cudaHostUnregister(static_cast<char*>(start_) + pagesOf(start_, bytes_).front));
  } catch (...) {
    // A device in error has nothing left to tidy up.
  }
}

void copyToDevice(void* device, const void* host, size_t bytes) {
  copyInParts(device, host, pagesOf(host, bytes), bytes, cudaMemcpyHostToDevice);
}

void copyToHost(void* host, const void* device, size_t bytes) {
  copyInParts(host, device, pagesOf(host, bytes), bytes, cudaMemcpyDeviceToHost);
}

}  // namespace cuda
