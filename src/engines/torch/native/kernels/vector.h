// float32 vectors of the width that a file is compiled for, and the register tile of a matrix product made of them.

#pragma once

#include "kernels.h"

namespace GRADAMP_ISA {

namespace {

/** `Unaligned` is what it is in memory. Templates forget its attributes: they take a `Vec`. */
typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<Unaligned*>(to) = value; }

/** Columns of a register tile: two vectors. */
constexpr int COLUMNS = 2 * LANES;
/** Rows of it: with these, accumulators, factors and a broadcast fill the registers. */
constexpr int ROWS = LANES == 16 ? 12 : LANES == 8 ? 6 : 4;

/** to [depth, COLUMNS] from COLUMNS rows of length `depth` that lie `stride` apart. */
inline void transpose(int64_t depth, const float* from, int64_t stride, float* to) {
  // Block by block: whole rows of one side are columns of the other, and miss the cache.
  for (int64_t k = 0; k < depth; k += COLUMNS) {
    const auto width = depth - k < COLUMNS ? depth - k : COLUMNS;
    for (int row = 0; row < COLUMNS; row++) {
      for (int64_t i = 0; i < width; i++) to[(k + i) * COLUMNS + row] = from[row * stride + k + i];
    }
  }
}

}  // namespace

}  // namespace GRADAMP_ISA
