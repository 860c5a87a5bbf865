// From bytes to what a model sees: a block a sample. assembly.cpp is the same for CPUs.

#include "arguments.h"
#include "device.cuh"

namespace {

constexpr int SIZE = 32;
constexpr int PIXELS = SIZE * SIZE;
constexpr int CHANNELS = 3;
constexpr int PADDING = 4;

/** Where a sample's crop starts in the image, before it is mirrored. */
struct Crop {
  int top;
  int left;
  bool mirrored;
};

/** Number i of a sample in channels_last order. */
__device__ inline float numberAt(const uint8_t* image, const float* table, const Crop& crop, int i) {
  const int channel = i % CHANNELS;
  const int pixel = i / CHANNELS;
  const int x = pixel % SIZE;
  const int row = crop.top + pixel / SIZE;
  const int column = crop.left + (crop.mirrored ? SIZE - 1 - x : x);
  const bool inside = row >= 0 && row < SIZE && column >= 0 && column < SIZE;
  return __ldg(table + 256 * channel + (inside ? image[PIXELS * channel + SIZE * row + column] : 0));
}

/** N numbers a thread: 16 bytes of the target. */
template <typename T, int N>
__device__ inline void assemble(const AssemblyArguments& arguments) {
  constexpr int VECTORS = CHANNELS * PIXELS / sizeof(uint4);
  __shared__ uint4 vectors[VECTORS];
  const auto* image = reinterpret_cast<const uint8_t*>(vectors);
  const int64_t sample = blockIdx.x;
  const uint8_t* source = arguments.images + static_cast<int64_t>(arguments.indices[sample]) * (CHANNELS * PIXELS);
  for (int i = threadIdx.x; i < VECTORS; i += THREADS) vectors[i] = reinterpret_cast<const uint4*>(source)[i];
  const bool augmented = arguments.top;
  const Crop crop = {
      augmented ? arguments.top[sample] - PADDING : 0,
      augmented ? arguments.left[sample] - PADDING : 0,
      augmented && arguments.flip[sample] == 1,
  };
  __syncthreads();

  T* target = static_cast<T*>(arguments.target) + sample * (CHANNELS * PIXELS);
  for (int i = N * threadIdx.x; i < CHANNELS * PIXELS; i += N * THREADS) {
    float values[N];
#pragma unroll
    for (int k = 0; k < N; k++) values[k] = numberAt(image, arguments.table, crop, i + k);
    store(target + i, values);
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS) assemble_float(const AssemblyArguments arguments) {
  assemble<float, 4>(arguments);
}

extern "C" __global__ void __launch_bounds__(THREADS) assemble_bfloat16(const AssemblyArguments arguments) {
  assemble<bfloat16, 8>(arguments);
}
