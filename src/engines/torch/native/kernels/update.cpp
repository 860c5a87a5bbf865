// Bound by memory: an update of two workers moves 24 bytes a number in about two cycles. So it goes once over all
// vectors, a cache line of each at a time, and in float32: float64 inside, as TypeScript has it, took 1.6 times as long.

#include "update.h"

#include "kernels.h"

namespace GRADAMP_ISA {
namespace {

/** Numbers of a cache line. */
constexpr int LINE = 16;
/** How far ahead lines are fetched, in numbers: the processor's own prefetcher loses sight of so many streams. */
constexpr int AHEAD = 4 * LINE;

#define ALWAYS_INLINE inline __attribute__((always_inline))

/** Vectors of N numbers; `Unaligned` is what they are in memory. */
template <int N>
struct Of {
  typedef float Float __attribute__((vector_size(4 * N)));
  typedef double Double __attribute__((vector_size(8 * N)));
  typedef int32_t Bits __attribute__((vector_size(4 * N)));
  typedef float Unaligned __attribute__((vector_size(4 * N), aligned(4), may_alias));
};

template <int N>
ALWAYS_INLINE typename Of<N>::Float load(const float* from) {
  return *reinterpret_cast<const typename Of<N>::Unaligned*>(from);
}

template <int N>
ALWAYS_INLINE void store(float* to, typename Of<N>::Float values) {
  *reinterpret_cast<typename Of<N>::Unaligned*>(to) = values;
}

template <int N>
ALWAYS_INLINE typename Of<N>::Float sum(const float* const* vectors, int count, int64_t i) {
  auto total = load<N>(vectors[0] + i);
  for (int k = 1; k < count; k++) total += load<N>(vectors[k] + i);
  return total;
}

template <int N>
ALWAYS_INLINE typename Of<N>::Float absolute(typename Of<N>::Float values) {
  using Bits = typename Of<N>::Bits;
  return reinterpret_cast<typename Of<N>::Float>(reinterpret_cast<Bits>(values) & 0x7fffffff);
}

template <int N, bool accumulates>
ALWAYS_INLINE void updateAt(const UpdateVectors& vectors, const UpdateRun& run, int64_t i) {
  const auto gradient = sum<N>(vectors.gradients, vectors.workers, i);
  const auto weight = load<N>(vectors.weights + i);
  if constexpr (accumulates) {
    const auto measured = gradient + run.measuredDecay * weight;
    store<N>(vectors.S + i, load<N>(vectors.S + i) + measured);
    store<N>(vectors.A + i, load<N>(vectors.A + i) + absolute<N>(measured));
  }
  const auto d = run.gradientFactor * gradient + run.decay * weight;
  const auto v = run.momentum * load<N>(vectors.velocity + i) + d;
  store<N>(vectors.velocity + i, v);
  store<N>(vectors.weights + i, weight - run.rate * (run.nesterov ? d + run.momentum * v : v));
}

template <int N, bool accumulates>
ALWAYS_INLINE void touchAt(const UpdateVectors& vectors, const UpdateRun&, int64_t i) {
  using Bits = typename Of<N>::Bits;
  using Float = typename Of<N>::Float;
  const auto bits = [](const float* from) { return reinterpret_cast<Bits>(load<N>(from)); };
  auto mixed = bits(vectors.gradients[0] + i);
  for (int k = 1; k < vectors.workers; k++) mixed ^= bits(vectors.gradients[k] + i);
  const auto mix = [&](float* vector) { store<N>(vector + i, reinterpret_cast<Float>(bits(vector + i) ^ mixed)); };
  mix(vectors.weights);
  mix(vectors.velocity);
  if constexpr (accumulates) {
    mix(vectors.S);
    mix(vectors.A);
  }
}

template <bool accumulates>
ALWAYS_INLINE void prefetch(const UpdateVectors& vectors, int64_t i) {
  for (int k = 0; k < vectors.workers; k++) __builtin_prefetch(vectors.gradients[k] + i);
  __builtin_prefetch(vectors.weights + i, 1);
  __builtin_prefetch(vectors.velocity + i, 1);
  if constexpr (accumulates) {
    __builtin_prefetch(vectors.S + i, 1);
    __builtin_prefetch(vectors.A + i, 1);
  }
}

/** Calls `full` for vectors of LANES numbers and `single` for what is left before and after whole cache lines. */
template <bool accumulates, typename Full, typename Single>
ALWAYS_INLINE void walk(const UpdateVectors& vectors, const UpdateRun& run, Full full, Single single) {
  int64_t i = run.start;
  const auto lineStarts = [&] { return reinterpret_cast<uintptr_t>(vectors.weights + i) % (4 * LINE) == 0; };
  for (; i < run.end && !lineStarts(); i++) single(vectors, run, i);
  for (; i + LINE <= run.end; i += LINE) {
    prefetch<accumulates>(vectors, i + AHEAD);
#pragma GCC unroll 4
    for (int j = 0; j < LINE; j += LANES) full(vectors, run, i + j);
  }
  for (; i < run.end; i++) single(vectors, run, i);
}

// The structs are copied so that the compiler knows that no store changes them.

void update(const UpdateVectors& vectors, const UpdateRun& run) {
  const UpdateVectors v = vectors;
  const UpdateRun r = run;
  if (v.S != nullptr) {
    walk<true>(v, r, updateAt<LANES, true>, updateAt<1, true>);
  } else {
    walk<false>(v, r, updateAt<LANES, false>, updateAt<1, false>);
  }
}

void touch(const UpdateVectors& vectors, const UpdateRun& run) {
  const UpdateVectors v = vectors;
  const UpdateRun r = run;
  if (v.S != nullptr) {
    walk<true>(v, r, touchAt<LANES, true>, touchAt<1, true>);
  } else {
    walk<false>(v, r, touchAt<LANES, false>, touchAt<1, false>);
  }
}

double squaredNorm(const float* const* vectors, int count, int64_t start, int64_t end) {
  // Half a vector of float32 makes a whole one of float64.
  constexpr int N = LANES / 2;
  using Double = typename Of<N>::Double;
  Double sums[LINE / N] = {};
  int64_t i = start;
  for (; i + LINE <= end; i += LINE) {
#pragma GCC unroll 8
    for (int j = 0; j < LINE / N; j++) {
      const auto x = __builtin_convertvector(sum<N>(vectors, count, i + N * j), Double);
      sums[j] += x * x;
    }
  }
  double total = 0;
  for (; i < end; i++) {
    const double x = sum<1>(vectors, count, i)[0];
    total += x * x;
  }
  for (const auto& lanes : sums) {
    for (int lane = 0; lane < N; lane++) total += lanes[lane];
  }
  return total;
}

bool allFinite(const float* vector, int64_t length) {
  constexpr int32_t EXPONENT = 0x7f800000;
  const auto bad = [](auto bits) { return (bits & EXPONENT) == EXPONENT; };
  typename Of<LANES>::Bits found[LINE / LANES] = {};
  int64_t i = 0;
  for (; i + LINE <= length; i += LINE) {
#pragma GCC unroll 4
    for (int j = 0; j < LINE / LANES; j++) {
      found[j] |= bad(reinterpret_cast<typename Of<LANES>::Bits>(load<LANES>(vector + i + LANES * j)));
    }
  }
  int32_t any = 0;
  for (; i < length; i++) any |= bad(reinterpret_cast<typename Of<1>::Bits>(load<1>(vector + i)))[0];
  for (const auto& lanes : found) {
    for (int lane = 0; lane < LANES; lane++) any |= lanes[lane];
  }
  return any == 0;
}

}  // namespace

extern const UpdateKernels updateKernels = {update, touch, squaredNorm, allFinite};

}  // namespace GRADAMP_ISA
