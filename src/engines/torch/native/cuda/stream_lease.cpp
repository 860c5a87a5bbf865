#include "stream_lease.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace cuda {
namespace {

/** Streams that nobody uses; never destroyed, since threads may end after the process began to exit. */
struct IdleStreams {
  std::mutex mutex;
  std::map<std::pair<int, Priority>, std::vector<c10::cuda::CUDAStream>> byKind;
};

IdleStreams& idleStreams() {
  static auto* streams = new IdleStreams;
  return *streams;
}

c10::cuda::CUDAStream takeStream(int device, Priority priority) {
  auto& [mutex, byKind] = idleStreams();
  const std::lock_guard lock(mutex);
  auto& idle = byKind[{device, priority}];
  if (idle.empty()) return c10::cuda::getStreamFromPool(priority == Priority::high, static_cast<c10::DeviceIndex>(device));
  const auto stream = idle.back();
  idle.pop_back();
  return stream;
}

}  // namespace

StreamLease::StreamLease(int device, Priority priority) : priority_(priority), stream_(takeStream(device, priority)) {}

StreamLease::~StreamLease() {
  auto& [mutex, byKind] = idleStreams();
  const std::lock_guard lock(mutex);
  byKind[{stream_.device_index(), priority_}].push_back(stream_);
}

}  // namespace cuda
