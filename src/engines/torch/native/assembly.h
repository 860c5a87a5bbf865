// From bytes to what a model sees; src/data/augmentation.ts is the same in TypeScript, and its oracle.

#pragma once

#include <cstdint>

#include "batch.h"

/** (pixel / 255 - mean) / std by channel and byte, computed in float64, rounded to float32. */
struct PixelTable {
  explicit PixelTable(const Normalisation& normalisation);

  float values[IMAGE_CHANNELS][256];
};

/**
 * Writes the samples first..last (excluded) of a batch, gathered, cropped, flipped and normalised, to their places in
 * `images`, float or double [batch.size, 32, 32, 3]. Runs on the calling thread: callers split the samples among theirs.
 */
template <typename T>
void assemble(const PixelTable& table, const Batch& batch, int64_t first, int64_t last, T* images);
