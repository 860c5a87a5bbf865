// The update of the flat vectors, and what is measured of them before: a block a chunk, all of it bound by memory.

#include "arguments.h"
#include "device.cuh"

namespace {

/** Calls body(value) for the numbers of a chunk that fall to this thread; its start is a multiple of 16 bytes. */
template <typename Body>
__device__ inline void forChunk(const float* vector, int size, Body body) {
  const int whole = size / 4 * 4;
#pragma unroll 4
  for (int i = 4 * threadIdx.x; i < whole; i += 4 * THREADS) {
    float values[4];
    load<4>(vector + i).unpack(values);
#pragma unroll
    for (int k = 0; k < 4; k++) body(values[k]);
  }
  const int rest = whole + threadIdx.x;
  if (rest < size) body(vector[rest]);
}

struct Factors {
  float gradientFactor;
  float decay;
  float rate;
  float momentum;
  float measuredDecay;
  bool nesterov;
  /** S and A are accumulated. */
  bool analysed;
};

/** Every operation rounded by itself, as kernels/update.cpp does it. */
__device__ inline void step(const Factors& factors, float gradient, float& weight, float& velocity) {
  const float d = __fadd_rn(__fmul_rn(factors.gradientFactor, gradient), __fmul_rn(factors.decay, weight));
  velocity = __fadd_rn(__fmul_rn(factors.momentum, velocity), d);
  const float along = factors.nesterov ? __fadd_rn(d, __fmul_rn(factors.momentum, velocity)) : velocity;
  weight = __fsub_rn(weight, __fmul_rn(factors.rate, along));
}

__device__ inline void accumulate(const Factors& factors, float gradient, float weight, float& S, float& A) {
  const float measured = __fadd_rn(gradient, __fmul_rn(factors.measuredDecay, weight));
  S = __fadd_rn(S, measured);
  A = __fadd_rn(A, fabsf(measured));
}

/** N numbers from position i on, all in the shard or none. */
template <int N>
__device__ inline void updateAt(const UpdateArguments& vectors, const Factors& factors, int64_t i) {
  const bool analysed = factors.analysed && i >= vectors.shardStart && i < vectors.shardEnd;
  float gradient[N], weight[N], velocity[N], S[N], A[N];
  const auto gradients = load<N>(vectors.gradient + i);
  const auto weights = load<N>(vectors.weights + i);
  const auto velocities = load<N>(vectors.velocity + i);
  if (analysed) {
    load<N>(vectors.S + i).unpack(S);
    load<N>(vectors.A + i).unpack(A);
  }
  gradients.unpack(gradient);
  weights.unpack(weight);
  velocities.unpack(velocity);
#pragma unroll
  for (int k = 0; k < N; k++) {
    if (analysed) accumulate(factors, gradient[k], weight[k], S[k], A[k]);
    step(factors, gradient[k], weight[k], velocity[k]);
  }
  store(vectors.velocity + i, velocity);
  store(vectors.weights + i, weight);
  if (analysed) {
    store(vectors.S + i, S);
    store(vectors.A + i, A);
  }
  if (vectors.operands) store(reinterpret_cast<bfloat16*>(vectors.operands) + i, weight);
}

/** What clipping leaves of the gradient: clipFactor of src/training/update.ts. */
__device__ inline double clipFactor(const ScalesArguments& arguments) {
  double squaredNorm = 0;
  for (int tensor = 0; tensor < arguments.tensors; tensor++) squaredNorm += arguments.gradientNorms[tensor];
  const double factor = arguments.options.clipNorm / (sqrt(squaredNorm) + 1e-6);
  // Written so that NaN stays NaN.
  return factor > 1 ? 1 : factor;
}

/** localRates of src/training/lars.ts. */
__device__ inline double localRate(const ScalesArguments& arguments, int tensor, double clip) {
  const ScaleOptions& options = arguments.options;
  const double weight = sqrt(arguments.weightNorms[tensor]);
  const double gradient = __dmul_rn(clip, sqrt(arguments.gradientNorms[tensor]));
  if (!arguments.factors[tensor].adaptive || weight == 0 || gradient == 0) return 1;
  const double decay = __dmul_rn(options.weightDecay, weight);
  return __dmul_rn(options.trust, weight) / __dadd_rn(__dadd_rn(gradient, decay), options.epsilon);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS) chunkNorms(const ChunkNormsArguments arguments) {
  const Chunk chunk = arguments.chunks[blockIdx.x];
  double sum = 0;
  forChunk(arguments.vector + chunk.start, chunk.size, [&](float x) { sum += static_cast<double>(x) * x; });
  const double total = blockSum(sum);
  if (threadIdx.x == 0) arguments.partial[blockIdx.x] = total;
}

/** A block, of one warp, a tensor. */
extern "C" __global__ void __launch_bounds__(32) tensorNorms(const TensorNormsArguments arguments) {
  const int tensor = blockIdx.x;
  double sum = 0;
  for (int chunk = arguments.firsts[tensor] + threadIdx.x; chunk < arguments.firsts[tensor + 1]; chunk += 32) {
    sum += arguments.partial[chunk];
  }
  const double total = warpSum(sum);
  if (threadIdx.x == 0) arguments.norms[tensor] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS) checkFinite(const FiniteArguments arguments) {
  const float* vector = arguments.vector;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * THREADS;
  const int64_t whole = reinterpret_cast<size_t>(vector) % 16 == 0 ? arguments.length / 4 : 0;
  bool found = false;
#pragma unroll 4
  for (int64_t i = thread; i < whole; i += threads) {
    float values[4];
    load<4>(vector + 4 * i).unpack(values);
#pragma unroll
    for (int k = 0; k < 4; k++) found |= !isFinite(values[k]);
  }
  for (int64_t i = 4 * whole + thread; i < arguments.length; i += threads) found |= !isFinite(vector[i]);
  // Whoever writes, writes the same.
  if (found) *arguments.nonFinite = 1;
}

/** One block. */
extern "C" __global__ void __launch_bounds__(THREADS) tensorScales(const ScalesArguments arguments) {
  const ScaleOptions& options = arguments.options;
  __shared__ double shared;
  if (threadIdx.x == 0) shared = options.clipNorm > 0 ? clipFactor(arguments) : 1;
  __syncthreads();
  const double clip = shared;
  for (int tensor = threadIdx.x; tensor < arguments.tensors; tensor += THREADS) {
    const TensorFactors& factors = arguments.factors[tensor];
    const double local = options.trust > 0 ? localRate(arguments, tensor, clip) : 1;
    TensorScales& scales = arguments.scales[tensor];
    scales.gradientFactor = static_cast<float>(__dmul_rn(__dmul_rn(local, clip), factors.gradientFactor));
    scales.decay = static_cast<float>(__dmul_rn(local, options.weightDecay));
    scales.rate = static_cast<float>(__dmul_rn(arguments.input->learningRate, factors.rateFactor));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) updateChunks(const ChunkUpdateArguments arguments) {
  const UpdateArguments& vectors = arguments.update;
  // Read before the flag is there: neither waits for the other.
  const Chunk chunk = arguments.chunks[blockIdx.x];
  if (*arguments.nonFinite) return;
  const TensorScales scales = arguments.scales[chunk.tensor];
  const Factors factors = {
      scales.gradientFactor,
      scales.decay,
      scales.rate,
      vectors.momentum,
      vectors.measuredDecay,
      vectors.nesterov != 0,
      vectors.S && arguments.input->analysed,
  };
  const int whole = chunk.size / 4 * 4;
  for (int i = 4 * threadIdx.x; i < whole; i += 4 * THREADS) updateAt<4>(vectors, factors, chunk.start + i);
  const int rest = whole + threadIdx.x;
  if (rest < chunk.size) updateAt<1>(vectors, factors, chunk.start + rest);
}

extern "C" __global__ void __launch_bounds__(THREADS) directionSums(const DirectionArguments arguments) {
  const Chunk chunk = arguments.chunks[blockIdx.x];
  double net = 0;
  double total = 0;
  double ratio = 0;
  double alive = 0;
  for (int k = threadIdx.x; k < chunk.size; k += THREADS) {
    const int64_t i = chunk.start + k;
    if (i < arguments.start || i >= arguments.end) continue;
    const double s = fabs(static_cast<double>(arguments.S[i]));
    const double a = arguments.A[i];
    net += s;
    total += a;
    if (a == 0) continue;
    ratio += s / a;
    alive += 1;
  }
  const double sums[4] = {net, total, ratio, alive};
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const double sum = blockSum(sums[k]);
    if (threadIdx.x == 0) arguments.sums[4 * static_cast<int64_t>(blockIdx.x) + k] = sum;
  }
}
