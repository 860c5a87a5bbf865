// The fused update of a run of the flat vector, and what is measured of it before.

#pragma once

#include <cstdint>

/** The flat vectors; S and A are null where nothing is accumulated. */
struct UpdateVectors {
  float* weights;
  float* velocity;
  /** One a worker; their sum is the gradient. */
  const float* const* gradients;
  int workers;
  float* S;
  float* A;
};

/** What the numbers start to end are updated with. */
struct UpdateRun {
  int64_t start;
  int64_t end;
  float gradientFactor;
  float decay;
  float rate;
  float momentum;
  bool nesterov;
  /** Weight decay in what S and A see. */
  float measuredDecay;
};

/** All sets of instructions give the same bits. */
struct UpdateKernels {
  /**
   * With g the sum of the gradients: S += g + measuredDecay * w, A += |g + measuredDecay * w|;
   * d = gradientFactor * g + decay * w; v = momentum * v + d; w -= rate * (nesterov ? d + momentum * v : v).
   * In float32, every operation rounded by itself.
   */
  void (*update)(const UpdateVectors& vectors, const UpdateRun& run);

  /** Reads and writes what `update` does, in the same order, and computes next to nothing: its floor. */
  void (*touch)(const UpdateVectors& vectors, const UpdateRun& run);

  /** Sum of squares, in float64, of the float32 sum of the given vectors. */
  double (*squaredNorm)(const float* const* vectors, int count, int64_t start, int64_t end);

  bool (*allFinite)(const float* vector, int64_t length);
};
