// What the kernels share: bfloat16 by its bits, loads and stores of 16 bytes, sums over a block. NVRTC has no CUDA headers.

#pragma once

#include "layout.h"

struct bfloat16 {
  uint16_t bits;
};

/** Two numbers rounded to the nearest bfloat16, ties to even, NaN kept: `low` in the lower half. */
__device__ inline uint32_t roundPair(float low, float high) {
#if __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  const auto round = [](float x) {
    const uint32_t bits = __float_as_uint(x);
    // Half of what is cut off, less one where the last bit that stays is even.
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  };
  return round(low) | round(high) << 16;
#endif
}

/**
 * N numbers in memory, and how they are loaded and stored: as few instructions as possible, at an address that is a
 * multiple of their size.
 */
template <typename T, int N>
struct Pack;

template <>
struct Pack<float, 1> {
  float raw;
  __device__ void unpack(float (&values)[1]) const { values[0] = raw; }
  __device__ static Pack of(const float (&values)[1]) { return {values[0]}; }
};

template <>
struct Pack<float, 4> {
  float4 raw;
  __device__ void unpack(float (&values)[4]) const {
    values[0] = raw.x;
    values[1] = raw.y;
    values[2] = raw.z;
    values[3] = raw.w;
  }
  __device__ static Pack of(const float (&values)[4]) {
    return {make_float4(values[0], values[1], values[2], values[3])};
  }
};

template <>
struct Pack<bfloat16, 1> {
  uint16_t raw;
  __device__ void unpack(float (&values)[1]) const { values[0] = __uint_as_float(static_cast<uint32_t>(raw) << 16); }
  __device__ static Pack of(const float (&values)[1]) { return {static_cast<uint16_t>(roundPair(values[0], 0))}; }
};

template <>
struct Pack<bfloat16, 4> {
  uint2 raw;
  __device__ static Pack of(const float (&values)[4]) {
    return {make_uint2(roundPair(values[0], values[1]), roundPair(values[2], values[3]))};
  }
};

template <>
struct Pack<bfloat16, 8> {
  uint4 raw;
  __device__ void unpack(float (&values)[8]) const {
    const uint32_t pairs[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      values[2 * i] = __uint_as_float(pairs[i] << 16);
      values[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
  }
  __device__ static Pack of(const float (&values)[8]) {
    return {make_uint4(roundPair(values[0], values[1]), roundPair(values[2], values[3]),
                       roundPair(values[4], values[5]), roundPair(values[6], values[7]))};
  }
};

template <int N, typename T>
__device__ inline Pack<T, N> load(const T* from) {
  return {*reinterpret_cast<const decltype(Pack<T, N>::raw)*>(from)};
}

template <int N, typename T>
__device__ inline void store(T* to, const float (&values)[N]) {
  *reinterpret_cast<decltype(Pack<T, N>::raw)*>(to) = Pack<T, N>::of(values).raw;
}

__device__ inline bool isFinite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

/** Sum over the warp, in an order that never changes; lane 0 has it. */
__device__ inline double warpSum(double value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_down_sync(0xffffffffu, value, distance);
  return value;
}

/** Sum over a block of at most 1024 threads, in an order that never changes; thread 0 has it. */
__device__ inline double blockSum(double value) {
  __shared__ double warps[32];
  const double sum = warpSum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0) {
    for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; warp++) total += warps[warp];
  }
  // Before the next sum writes over this one's parts.
  __syncthreads();
  return total;
}

/**
 * True in the last of `blocks` blocks that come here, which then sees what all threads of the others wrote before. The
 * counter is 0 again behind it.
 */
__device__ inline bool isLastBlock(int32_t* counter, int blocks) {
  __shared__ bool isLast;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    isLast = atomicAdd(counter, 1) == blocks - 1;
    if (isLast) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return isLast;
}
