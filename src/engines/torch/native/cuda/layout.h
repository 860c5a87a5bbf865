// What host and device both read: plain structs. The kernels include it too; NVRTC has none of the standard's headers.

#pragma once

#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
#else
#include <cstdint>
#endif

/** A run of the flat vectors that one block works on; it lies within one tensor and starts on a multiple of 16. */
struct Chunk {
  int64_t start;
  int32_t size;
  int32_t tensor;
};

/** At most so many numbers in a chunk. */
constexpr int CHUNK = 4096;

/** Numbers in Vectors.counters: batch norms have one for each tile of at least 32 channels. */
constexpr int COUNTERS = 1024;

/** All chunks of the flat vectors, on the device; those of a tensor follow each other. */
struct Chunks {
  const Chunk* chunks;
  int count;
  /** [tensors + 1]: the first chunk of each tensor. */
  const int32_t* firsts;
  int tensors;
  /** [count] doubles for partial sums. */
  double* partial;
};

/** What differs between two steps; copied to the device in front of each. */
struct StepInput {
  double learningRate;
  /** 1: S and A are accumulated. */
  int32_t analysed;
  int32_t reserved;
};

/** Of a tensor, as the choice of layers says it; see Segment in src/training/update.ts. */
struct TensorFactors {
  double gradientFactor;
  double rateFactor;
  /** 1: LARS gives it a local rate. */
  int32_t adaptive;
  int32_t reserved;
};

/** In float64, as TypeScript has them: only what comes of them is rounded. */
struct ScaleOptions {
  double weightDecay;
  /** 0: no clipping. */
  double clipNorm;
  /** 0: no LARS. */
  double trust;
  double epsilon;
};

/** What the update multiplies: the gradient, the weight added to it, the step. */
struct TensorScales {
  float gradientFactor;
  float decay;
  float rate;
  float reserved;
};

struct UpdateArguments {
  float* weights;
  float* velocity;
  const float* gradient;
  /** Null where nothing is ever analysed. */
  float* S;
  float* A;
  /** Bfloat16 copies of the weights, or null. */
  uint16_t* operands;
  /** Multiples of 16, or the vectors' end. */
  int64_t shardStart;
  int64_t shardEnd;
  float momentum;
  float measuredDecay;
  int32_t nesterov;
};

/** Sums since they were last cleared. */
struct StepTotals {
  double lossSum;
  double correct;
  double samples;
  /** Optimizer steps taken. */
  double iterations;
  double skipped;
  double skippedInARow;
};
