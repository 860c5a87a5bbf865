// Winograd's minimal filtering for 3x3 convolutions of stride 1 and padding 1 (Lavin and Gray 2015, "Fast algorithms for
// convolutional neural networks"): an output tile of m x m, m = 2 or 4, costs (m + 2)^2 multiplications in place of 9 m^2.
// Maps are float32 [samples, height, width, channels]. A tile's (m + 2)^2 transformed values are called positions.

#pragma once

#include <cstdint>

struct WinogradMap {
  int64_t height;
  int64_t width;
  int64_t channels;
  /** `channels` zeros: what lies outside the map. */
  const float* zeros;
  /** Room for `channels` numbers that nobody reads. */
  float* sink;
};

/** Transformed tiles, [positions, rows, channels] with gaps: position p, row r at values[p * position + r * row]. */
struct WinogradTiles {
  float* values;
  int64_t position;
  int64_t row;
};

struct WinogradKernels {
  /** B^T d B of the tiles first .. first + count - 1 of an input, to rows 0 .. count - 1. */
  void (*inputTransform)(int m, const WinogradMap& map, const float* x, int64_t first, int64_t count,
                         const WinogradTiles& tiles);

  /** A^T t A: rows 0 .. count - 1 to the tiles of an output; `bias` may be null. */
  void (*outputTransform)(int m, const WinogradMap& map, const WinogradTiles& tiles, int64_t first, int64_t count,
                          const float* bias, float* y);

  /** A dy A^T, the transpose of the output transform. */
  void (*outputGradientTransform)(int m, const WinogradMap& map, const float* dy, int64_t first, int64_t count,
                                  const WinogradTiles& tiles);

  /**
   * G w G^T of a filter [outputs, 3, 3, inputs], for each position in the panels of MatrixKernels::multiply.
   * Forward, columns are outputs and rows inputs; otherwise the filter is turned by 180 degrees, and columns are inputs.
   * The panels first .. last - 1 are written; `scratch` has room for 9 * inputs * panel numbers.
   */
  void (*filterTransform)(int m, bool forward, int64_t outputs, int64_t inputs, const float* w, int64_t first,
                          int64_t last, float* scratch, float* transformed);

  /** Adds G^T u G, of a filter's gradient u [positions, outputs, inputs] for the outputs first .. last - 1, to dw. */
  void (*filterGradientTransform)(int m, int64_t outputs, int64_t inputs, const float* u, int64_t first, int64_t last,
                                  float* dw);
};
