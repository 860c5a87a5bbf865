// What host and device both read: plain structs. NVRTC compiles it in front of the kernels, so it includes nothing there.

#pragma once

#ifndef __CUDACC_RTC__
#include <cstdint>
#endif

/** A run of the flat vector that one block works on; it lies within one tensor and starts on a multiple of 16. */
struct Chunk {
  int64_t start;
  int32_t size;
  int32_t tensor;
};

/** At most so many numbers in a chunk. */
constexpr int CHUNK = 4096;

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
  float learningRate;
  /** 1: S and A are accumulated. */
  int32_t analysed;
  /** 1: S and A start from 0 at this step. */
  int32_t first;
  int32_t reserved;
};

/** Of a tensor, as the choice of layers says it; see Segment in src/training/update.ts. */
struct TensorFactors {
  float gradientFactor;
  float rateFactor;
  /** 1: LARS gives it a local rate. */
  int32_t adaptive;
  int32_t reserved;
};

struct ScaleOptions {
  float weightDecay;
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
