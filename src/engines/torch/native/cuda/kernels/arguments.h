// The argument of each kernel, one struct each: what kernels.cpp fills is what the kernels read.
// Maps are [rows, channels], of float or bfloat16; `void` where a kernel is there for both.

#pragma once

#include "layout.h"

/** Threads of a block: sums need large ones, which leave few partial sums; the rest only has to fill the device. */
constexpr int SUM_THREADS = 512;
constexpr int THREADS = 256;
/** How many blocks the registers of a multiprocessor hold at once. */
constexpr int MOMENTS_BLOCKS = 2;
constexpr int GRADIENT_SUMS_BLOCKS = 1;
constexpr int NORMALISE_BLOCKS = 4;
constexpr int INPUT_GRADIENT_BLOCKS = 2;

/** Samples of a block of the loss, a warp each. */
constexpr int LOSS_SAMPLES = 4;

/**
 * A block walks over rows of one tile of channels: `lanes` threads (a power of two) stand side by side along the
 * channels, with a vector of 16 bytes or a single number each, and the others along the rows.
 */
struct Map {
  int64_t rows;
  int32_t channels;
  int32_t lanes;
};

/** What becomes of the moments of a pass. */
struct Statistics {
  double epsilon;
  double momentum;
  float* runningMean;
  float* runningVariance;
  float* mean;
  float* inverseDeviation;
};

struct MomentsArguments {
  Map map;
  const void* x;
  /** [blocks along the rows, 2, channels]. */
  double* partial;
  /** One for each tile; 0 before and after. */
  int32_t* counters;
  Statistics statistics;
  /**
   * Null where the statistics are of this map alone; else [2 * channels + 1], what all workers are to know of it: means,
   * sums of squared deviations from them, and rows.
   */
  double* own;
};

struct AllMomentsArguments {
  /** [workers, 2 * channels + 1]. */
  const double* all;
  int32_t workers;
  int32_t channels;
  Statistics statistics;
};

struct RunningArguments {
  int32_t channels;
  double epsilon;
  const float* runningMean;
  const float* runningVariance;
  float* mean;
  float* inverseDeviation;
};

/** What makes a normalisation a map of x * scale + offset. */
struct Norm {
  const float* gamma;
  const float* beta;
  const float* mean;
  const float* inverseDeviation;
  bool relu;
};

struct NormaliseArguments {
  Map map;
  Norm norm;
  const void* x;
  /** Null where nothing is added. */
  const void* residual;
  void* y;
};

struct GradientSumsArguments {
  Map map;
  Norm norm;
  const void* x;
  /** Null where no residual was added. */
  const void* y;
  const void* dy;
  /** With y: where what passes through the ReLU goes; may be dy. */
  void* passed;
  double* partial;
  int32_t* counters;
  double factor;
  float* gammaGradient;
  float* betaGradient;
  bool accumulates;
  /** [3, channels]: a, b, c of dx = a * g + b * (x - mean) + c. */
  float* coefficients;
  /** As in MomentsArguments: sums of g, sums of g * (x - mean), and rows; the coefficients are then left alone. */
  double* own;
};

struct AllGradientSumsArguments {
  /** [workers, 2 * channels + 1]. */
  const double* all;
  int32_t workers;
  int32_t channels;
  Norm norm;
  double factor;
  float* coefficients;
};

struct InputGradientArguments {
  Map map;
  Norm norm;
  const void* x;
  const void* dy;
  const float* coefficients;
  /** May be dy. */
  void* dx;
};

struct AssemblyArguments {
  const uint8_t* images;
  const uint32_t* indices;
  /** All three null without augmentation. */
  const uint8_t* top;
  const uint8_t* left;
  const uint8_t* flip;
  /** [3, 256]. */
  const float* table;
  void* target;
};

struct LossArguments {
  const void* logits;
  int64_t samples;
  int64_t classes;
  const uint8_t* labels;
  const uint32_t* indices;
  float weight;
  float smoothing;
  float* losses;
  float* hits;
  /** Null where it is not wanted, as `predictions`. */
  void* gradient;
  int32_t* predictions;
};

struct FiniteArguments {
  const float* vector;
  int64_t length;
  int32_t* nonFinite;
};

struct ChunkNormsArguments {
  const float* vector;
  const Chunk* chunks;
  double* partial;
};

struct TensorNormsArguments {
  const int32_t* firsts;
  const double* partial;
  double* norms;
};

struct ScalesArguments {
  const StepInput* input;
  const TensorFactors* factors;
  ScaleOptions options;
  const double* gradientNorms;
  const double* weightNorms;
  int32_t tensors;
  TensorScales* scales;
};

struct ChunkUpdateArguments {
  UpdateArguments update;
  const Chunk* chunks;
  const StepInput* input;
  const TensorScales* scales;
  const int32_t* nonFinite;
};

struct FinishArguments {
  const float* losses;
  const float* hits;
  int64_t samples;
  const int32_t* nonFinite;
  float* statistics;
  const float* statisticsBefore;
  int64_t statisticsLength;
  StepTotals* totals;
};

struct DirectionArguments {
  const float* S;
  const float* A;
  const Chunk* chunks;
  int64_t start;
  int64_t end;
  double* sums;
};
