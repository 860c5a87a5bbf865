// Our CUDA kernels on the processor: cuda/module.h of a machine without a GPU. What they do is checked this way, not how
// fast they are, nor what only a GPU has: memory that other blocks see late, where a fence is missing, or instructions that
// stand for code of our own, as the one that rounds to bfloat16.

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

/**
 * Of the blocks of a grid, and of the threads of a block between two barriers. Forward, all other blocks overtake the first
 * one where it has added its first number atomically. No result may depend on any of this.
 */
enum class Order { forward, backward };

void setOrder(Order order);

/** What multiprocessorCount() says: how many blocks the host takes for enough. */
void setMultiprocessorCount(int count);

/** The kernels that were launched since this was last asked. */
std::vector<std::string> takeLaunched();

}  // namespace emulation
