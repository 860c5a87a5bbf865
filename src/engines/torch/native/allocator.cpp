#include "allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace {

constexpr size_t ALIGNMENT = 64;
/** Smaller ones are left to malloc. */
constexpr size_t LARGE = size_t{1} << 20;
constexpr size_t HUGE_PAGE = size_t{2} << 20;

void* aligned(size_t alignment, size_t size) {
  void* data = nullptr;
  if (posix_memalign(&data, alignment, size) != 0) throw std::bad_alloc();
  return data;
}

/** The large blocks, on whole huge pages. Threads share them: replicas come and go with their threads. */
class Pool {
 public:
  void* take(size_t bytes) {
    const auto size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const std::lock_guard lock(mutex_);
    const auto found = free_.lower_bound(size);
    // A block much larger than asked for will be missed by who asks for its size.
    if (found != free_.end() && found->first <= size + size / 4) {
      auto* data = found->second;
      free_.erase(found);
      return data;
    }
    auto* data = fresh(size);
#if defined(__linux__)
    madvise(data, size, MADV_HUGEPAGE);
#endif
    sizes_[data] = size;
    return data;
  }

  /** Whether this is one of the pool's; then it is free again. */
  bool put(void* data) {
    if (reinterpret_cast<uintptr_t>(data) % HUGE_PAGE != 0) return false;
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(data);
    if (found == sizes_.end()) return false;
    free_.emplace(found->second, data);
    return true;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    releaseLocked();
  }

 private:
  /** What lies idle goes before the memory runs out. */
  void* fresh(size_t size) {
    if (void* data = nullptr; posix_memalign(&data, HUGE_PAGE, size) == 0) return data;
    releaseLocked();
    return aligned(HUGE_PAGE, size);
  }

  void releaseLocked() {
    for (const auto& [size, data] : free_) {
      sizes_.erase(data);
      std::free(data);
    }
    free_.clear();
  }

  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;
  std::multimap<size_t, void*> free_;
};

/** Never destroyed: tensors of other threads may be freed after the process began to exit. */
Pool& pool() {
  static auto* pool = new Pool;
  return *pool;
}

void deallocate(void* data) {
  if (!pool().put(data)) std::free(data);
}

/** `allocate` is const in old libtorches and not in new ones, where `copy_data` is asked for too: hence no `override`. */
struct HostAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) const { return allocation(bytes); }
  c10::DataPtr allocate(size_t bytes) { return allocation(bytes); }
  void copy_data(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }
  c10::DeleterFnPtr raw_deleter() const { return &deallocate; }

 private:
  static c10::DataPtr allocation(size_t bytes) {
    if (bytes == 0) return {nullptr, c10::Device(c10::kCPU)};
    auto* data = bytes < LARGE ? aligned(ALIGNMENT, bytes) : pool().take(bytes);
    return {data, data, &deallocate, c10::Device(c10::kCPU)};
  }
};

}  // namespace

void installAllocator() {
  static const bool installed = [] {
    // Never destroyed, as the pool.
    c10::SetCPUAllocator(new HostAllocator, 1);
    return true;
  }();
  (void)installed;
}

void releaseMemory() { pool().release(); }
