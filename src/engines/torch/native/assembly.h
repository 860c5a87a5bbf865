// From bytes to what a model sees; src/data/augmentation.ts is the same in TypeScript, and its oracle.

#pragma once

#include <cstdint>

#include "batch.h"

/** (pixel / 255 - mean) / std by channel and byte, computed in float64. T is float or double. */
template <typename T>
struct PixelTable {
  T values[IMAGE_CHANNELS][256];

  /** @param mean, std of pixels scaled to 0..1, by channel. */
  PixelTable(const double* mean, const double* std);
};

/**
 * Writes the samples first..last (excluded) of a batch, gathered, cropped, flipped and normalised, to their places in
 * `images`, T [batch.count, 32, 32, 3]. Runs on the calling thread: callers split the samples among theirs.
 */
template <typename T>
void assemble(const PixelTable<T>& table, const Batch& batch, int64_t first, int64_t last, T* images);
