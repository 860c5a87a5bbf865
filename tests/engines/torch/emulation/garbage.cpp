#include "garbage.h"

#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace {

constexpr size_t ALIGNMENT = 64;

/** `allocate` is const in old libtorches and not in new ones, where `copy_data` is asked for too: hence no `override`. */
struct GarbageAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) const { return allocation(bytes); }
  c10::DataPtr allocate(size_t bytes) { return allocation(bytes); }
  void copy_data(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }
  c10::DeleterFnPtr raw_deleter() const { return &std::free; }

 private:
  static c10::DataPtr allocation(size_t bytes) {
    if (bytes == 0) return {nullptr, c10::Device(c10::kCPU)};
    void* data = nullptr;
    if (posix_memalign(&data, ALIGNMENT, bytes) != 0) throw std::bad_alloc();
    std::memset(data, 0xff, bytes);
    return {data, data, &std::free, c10::Device(c10::kCPU)};
  }
};

}  // namespace

void fillWithGarbage() { c10::SetCPUAllocator(new GarbageAllocator, 1); }
