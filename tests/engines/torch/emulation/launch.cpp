// A block's threads are fibers. Each runs until it waits, for its warp or for the block. A warp runs on until all of it
// waits for the block, so that warps are as far apart as barriers let them be. Blocks run one after the other, but for the
// first: see atomicDone.

#include "launch.h"

#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "cuda/module.h"
#include "device.h"

Index threadIdx;
Index blockIdx;
Index blockDim;
Index gridDim;

namespace emulation {

namespace {

constexpr unsigned MOST_THREADS = 1024;
constexpr unsigned WARP = 32;
constexpr size_t STACK = 64 << 10;

enum class State { runs, waitsForBlock, waitsForWarp, ended };

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(STACK);
  State state;
  /** Of the source, where it waits. */
  int line;
  /** What it gives to its warp, now and the time before: others may still have to take that. */
  uint64_t given[2];
  int exchanges;
};

/** What a block runs on. */
struct Fibers {
  std::vector<Thread> threads = std::vector<Thread>(MOST_THREADS);
  ucontext_t host;
};

/** One grid runs at a time, whichever threads of the process launch them. */
std::mutex mutex;
Order order = Order::forward;
int multiprocessors = 4;
std::vector<std::string> launched;
/** Of the blocks, and of those that overtake the first one. */
Fibers inTurn;
Fibers overtaking;
Fibers* fibers = &inTurn;
/** Of the launch that runs. */
const Kernel* kernel;
const void* argument;
/** So many blocks have begun. */
unsigned begun;
/** What one that overtook has thrown. */
std::exception_ptr thrown;

unsigned ordered(unsigned i, unsigned count) { return order == Order::forward ? i : count - 1 - i; }

Thread& current() { return fibers->threads[threadIdx.x]; }

void waitFor(State state, int line) {
  auto& thread = current();
  thread.state = state;
  thread.line = line;
  swapcontext(&thread.context, &fibers->host);
}

void enter() {
  kernel->run(argument);
  current().state = State::ended;
}

void start(Thread& thread) {
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = STACK;
  thread.context.uc_link = &fibers->host;
  makecontext(&thread.context, enter, 0);
  thread.state = State::runs;
  thread.exchanges = 0;
}

/** Whether the threads all wait so, at one line; then they run on. */
bool release(unsigned first, unsigned count, State state) {
  const auto begin = fibers->threads.begin() + first;
  const auto waits = [&](const Thread& thread) { return thread.state == state && thread.line == begin->line; };
  if (!std::all_of(begin, begin + count, waits)) return false;
  std::for_each(begin, begin + count, [](Thread& thread) { thread.state = State::runs; });
  return true;
}

[[noreturn]] void fail(const std::string& name, const std::string& why) { throw std::logic_error(name + ": " + why); }

[[noreturn]] void failStuck(unsigned count) {
  const auto& threads = fibers->threads;
  std::string states;
  for (unsigned i = 0; i < count; i++) {
    const auto& thread = threads[i];
    const auto state = thread.state == State::ended           ? "ended"
                       : thread.state == State::waitsForBlock ? "at the barrier of line " + std::to_string(thread.line)
                                                              : "at the shuffle of line " + std::to_string(thread.line);
    const auto text = "\n  from thread " + std::to_string(i) + ": " + state;
    if (i == 0 || threads[i - 1].state != thread.state || threads[i - 1].line != thread.line) states += text;
  }
  fail(kernel->name, "expected all threads at one barrier, got" + states);
}

void runWarp(unsigned first) {
  do {
    for (unsigned i = 0; i < WARP; i++) {
      threadIdx = {first + ordered(i, WARP), 0};
      if (current().state == State::runs) swapcontext(&fibers->host, &current().context);
    }
  } while (release(first, WARP, State::waitsForWarp));
}

void runBlock() {
  auto& threads = fibers->threads;
  const auto count = blockDim.x;
  const auto warps = count / WARP;
  std::for_each_n(threads.begin(), count, start);
  const auto ended = [](const Thread& thread) { return thread.state == State::ended; };
  for (;;) {
    for (unsigned i = 0; i < warps; i++) runWarp(WARP * ordered(i, warps));
    if (std::all_of(threads.begin(), threads.begin() + count, ended)) return;
    if (!release(0, count, State::waitsForBlock)) failStuck(count);
  }
}

void runBlocks() {
  const auto blocks = gridDim.x * gridDim.y;
  while (begun < blocks) {
    const auto block = ordered(begun++, blocks);
    blockIdx = {block % gridDim.x, block / gridDim.x};
    runBlock();
  }
}

const Kernel& find(const char* name) {
  const auto named = [&](const Kernel& candidate) { return candidate.name == std::string(name); };
  const auto found = std::find_if(KERNELS.begin(), KERNELS.end(), named);
  if (found == KERNELS.end()) fail(name, "no such kernel in emulation/kernels.cpp");
  return *found;
}

}  // namespace

void wait(int line) { waitFor(State::waitsForBlock, line); }

uint64_t exchange(uint64_t own, unsigned lane, int line) {
  auto& thread = current();
  const auto turn = thread.exchanges++ % 2;
  thread.given[turn] = own;
  waitFor(State::waitsForWarp, line);
  return fibers->threads[threadIdx.x / WARP * WARP + lane].given[turn];
}

void atomicDone() {
  if (order != Order::forward || fibers == &overtaking || begun == gridDim.x * gridDim.y) return;
  const auto thread = threadIdx;
  const auto block = blockIdx;
  fibers = &overtaking;
  // With shared memory of its own; no exception may leave a fiber.
  std::thread([] {
    try {
      runBlocks();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  fibers = &inTurn;
  threadIdx = thread;
  blockIdx = block;
}

void setOrder(Order wanted) { order = wanted; }

void setMultiprocessorCount(int count) { multiprocessors = count; }

std::vector<std::string> takeLaunched() {
  const std::lock_guard lock(mutex);
  return std::exchange(launched, {});
}

}  // namespace emulation

namespace cuda {

void loadKernels() {}

int multiprocessorCount() { return emulation::multiprocessors; }

void launchKernel(const char* name, Grid grid, unsigned threads, const void* argument) {
  using namespace emulation;
  const std::lock_guard lock(mutex);
  if (grid.x == 0 || grid.x > INT32_MAX || grid.y == 0 || grid.y > UINT16_MAX) fail(name, "no such grid");
  if (threads == 0 || threads > MOST_THREADS || threads % WARP != 0) fail(name, "expected whole warps");
  kernel = &find(name);
  emulation::argument = argument;
  launched.push_back(name);
  gridDim = {grid.x, grid.y};
  blockDim = {threads, 1};
  begun = 0;
  runBlocks();
  if (thrown) std::rethrow_exception(std::exchange(thrown, {}));
}

}  // namespace cuda
