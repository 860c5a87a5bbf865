// Our CUDA kernels on the processor: cuda/module.h of a machine without a GPU. What they do is checked this way, not how
// fast they are, nor what goes wrong only where blocks run side by side: a fence that is missing, say.

#pragma once

#include <string>
#include <vector>

namespace emulation {

struct Kernel {
  const char* name;
  void (*run)(const void* argument);
};

/** All kernels of cuda/kernels. */
extern const std::vector<Kernel> KERNELS;

/** Of the blocks of a grid, and of the threads of a block between two barriers. No result may depend on it. */
enum class Order { forward, backward };

void setOrder(Order order);

/** What multiprocessorCount() says: how many blocks the host takes for enough. */
void setMultiprocessorCount(int count);

/** The kernels that were launched since this was last asked. */
std::vector<std::string> takeLaunched();

}  // namespace emulation
