#include "stream_lease.h"

#include <map>
#include <mutex>
#include <vector>

namespace cuda {
namespace {

/** Streams that nobody uses, by device; never destroyed, since threads may end after the process began to exit. */
struct IdleStreams {
  std::mutex mutex;
  std::map<int, std::vector<c10::cuda::CUDAStream>> byDevice;
};

IdleStreams& idleStreams() {
  static auto* streams = new IdleStreams;
  return *streams;
}

c10::cuda::CUDAStream takeStream(int device) {
  auto& [mutex, byDevice] = idleStreams();
  const std::lock_guard lock(mutex);
  auto& idle = byDevice[device];
  if (idle.empty()) return c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(device));
  const auto stream = idle.back();
  idle.pop_back();
  return stream;
}

}  // namespace

StreamLease::StreamLease(int device) : stream_(takeStream(device)) {}

StreamLease::~StreamLease() {
  auto& [mutex, byDevice] = idleStreams();
  const std::lock_guard lock(mutex);
  byDevice[stream_.device_index()].push_back(stream_);
}

}  // namespace cuda
