// What CUDA's C++ has beyond the standard's, as far as our kernels use it, for the processor: included in front of them.
// What a thread waits for is in launch.cpp.

#pragma once

#include <math.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __launch_bounds__(...)
// One block runs at a time on a thread of the process. As on a GPU, a block finds there what the one before it left.
#define __shared__ static thread_local

struct Index {
  unsigned x;
  unsigned y;
};

/** Of the thread that runs. */
extern Index threadIdx;
extern Index blockIdx;
extern Index blockDim;
extern Index gridDim;

// Aligned as on a GPU: see CMakeLists.txt.

struct alignas(16) float4 {
  float x, y, z, w;
};

struct alignas(8) uint2 {
  unsigned x, y;
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }

// Compiled without contraction: an operation is rounded by itself.

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

template <typename T>
T __ldg(const T* from) {
  return *from;
}

template <typename T>
T __ldcg(const T* from) {
  return *from;
}

// Each block sees at once what the others write.

inline void __threadfence() {}

namespace emulation {

/** Other blocks may overtake this one, so that what it does only later is too late for them. */
void atomicDone();

/** Waits for all threads of the block. */
void wait(int line);

/** Waits for all threads of the warp; returns what its thread `lane` gave. */
uint64_t exchange(uint64_t own, unsigned lane, int line);

template <typename T>
T exchange(T own, unsigned lane, int line) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t given = 0;
  std::memcpy(&given, &own, sizeof(T));
  const auto taken = exchange(given, lane, line);
  std::memcpy(&own, &taken, sizeof(T));
  return own;
}

}  // namespace emulation

inline int atomicAdd(int* to, int value) {
  const int before = *to;
  *to += value;
  emulation::atomicDone();
  return before;
}

inline void __syncthreads(int line = __builtin_LINE()) { emulation::wait(line); }

// Of whole warps only: the mask says no more than that.

template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned distance, int line = __builtin_LINE()) {
  const auto lane = threadIdx.x % 32;
  return emulation::exchange(value, lane + distance < 32 ? lane + distance : lane, line);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned distance, int line = __builtin_LINE()) {
  return emulation::exchange(value, threadIdx.x % 32 ^ distance, line);
}
