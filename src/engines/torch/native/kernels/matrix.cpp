#include "matrix.h"

#include "kernels.h"
#include "vector.h"

namespace GRADAMP_ISA {

namespace {

/** Calls body with a number that is a constant, `count` of 1 .. ROWS. */
template <int COUNT = ROWS, typename Body>
inline void withRows(int64_t count, Body body) {
  if constexpr (COUNT > 0) {
    if (count == COUNT) {
      body.template operator()<COUNT>();
    } else {
      withRows<COUNT - 1>(count, body);
    }
  }
}

/** Stores the first `count` columns of a row of a register tile. */
inline void storeRow(float* to, const Vec& first, const Vec& second, int64_t count, bool add) {
  if (count >= COLUMNS) {
    store(to, add ? load(to) + first : first);
    store(to + LANES, add ? load(to + LANES) + second : second);
    return;
  }
  float values[COLUMNS];
  store(values, first);
  store(values + LANES, second);
  for (int64_t i = 0; i < count; i++) to[i] = add ? to[i] + values[i] : values[i];
}

void multiply(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t aRow, const float* b, float* c,
              int64_t cRow) {
  for (int64_t column = 0; column < columns; column += COLUMNS, b += depth * COLUMNS) {
    for (int64_t row = 0; row < rows; row += ROWS) {
      withRows(rows - row < ROWS ? rows - row : ROWS, [&]<int COUNT>() {
        Vec sums[COUNT][2] = {};
        const float* left = a + row * aRow;
        const float* right = b;
        for (int64_t k = 0; k < depth; k++, left++, right += COLUMNS) {
          const Vec r0 = load(right);
          const Vec r1 = load(right + LANES);
#pragma GCC unroll 16
          for (int i = 0; i < COUNT; i++) {
            sums[i][0] += left[i * aRow] * r0;
            sums[i][1] += left[i * aRow] * r1;
          }
        }
#pragma GCC unroll 16
        for (int i = 0; i < COUNT; i++) {
          storeRow(c + (row + i) * cRow + column, sums[i][0], sums[i][1], columns - column, false);
        }
      });
    }
  }
}

/** `multiplyTransposed` over a depth whose columns of a and b stay in the cache. */
void multiplyTransposedBlock(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t aRow, const float* b,
                        int64_t bRow, bool add, float* c, int64_t cRow) {
  for (int64_t column = 0; column < columns; column += COLUMNS) {
    for (int64_t row = 0; row < rows; row += ROWS) {
      withRows(rows - row < ROWS ? rows - row : ROWS, [&]<int COUNT>() {
        Vec sums[COUNT][2] = {};
        const float* left = a + row;
        const float* right = b + column;
        for (int64_t k = 0; k < depth; k++, left += aRow, right += bRow) {
          const Vec r0 = load(right);
          const Vec r1 = load(right + LANES);
#pragma GCC unroll 16
          for (int i = 0; i < COUNT; i++) {
            sums[i][0] += left[i] * r0;
            sums[i][1] += left[i] * r1;
          }
        }
#pragma GCC unroll 16
        for (int i = 0; i < COUNT; i++) {
          storeRow(c + (row + i) * cRow + column, sums[i][0], sums[i][1], columns - column, add);
        }
      });
    }
  }
}

/** Rows of b, and as many of a, whose part of a register tile fits the first cache. */
constexpr int64_t DEPTH = 128;

void multiplyTransposed(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t aRow, const float* b,
                        int64_t bRow, bool add, float* c, int64_t cRow) {
  for (int64_t k = 0; k < depth; k += DEPTH) {
    const auto size = depth - k < DEPTH ? depth - k : DEPTH;
    multiplyTransposedBlock(rows, size, columns, a + k * aRow, aRow, b + k * bRow, bRow, add || k > 0, c, cRow);
  }
}

void packColumns(int64_t depth, int64_t columns, const float* w, int64_t first, int64_t last, float* packed) {
  for (int64_t panel = first; panel < last; panel++) {
    const auto column = panel * COLUMNS;
    float* to = packed + column * depth;
    if (column + COLUMNS <= columns) {
      transpose(depth, w + column * depth, depth, to);
      continue;
    }
    for (int64_t k = 0; k < depth; k++) {
      for (int64_t i = 0; i < COLUMNS; i++) to[k * COLUMNS + i] = column + i < columns ? w[(column + i) * depth + k] : 0;
    }
  }
}

void packRows(int64_t depth, int64_t columns, const float* w, int64_t first, int64_t last, float* packed) {
  for (int64_t panel = first; panel < last; panel++) {
    const auto column = panel * COLUMNS;
    for (int64_t k = 0; k < depth; k++) {
      const float* from = w + k * columns + column;
      float* to = packed + column * depth + k * COLUMNS;
      for (int64_t i = 0; i < COLUMNS; i++) to[i] = column + i < columns ? from[i] : 0;
    }
  }
}

/** Calls body(row of the window's first pixel, that pixel's column, row) for each output position. */
template <typename Body>
inline void forWindows(const Windows& windows, int64_t first, int64_t count, Body body) {
  const auto each = windows.outputHeight * windows.outputWidth;
  for (int64_t row = 0; row < count; row++) {
    const auto position = (first + row) % each;
    const auto sample = (first + row) / each * windows.height * windows.width * windows.channels;
    body(row, sample, position / windows.outputWidth * windows.stride - windows.padding,
         position % windows.outputWidth * windows.stride - windows.padding);
  }
}

void gather(const Windows& windows, const float* x, int64_t first, int64_t count, float* rows, int64_t stride) {
  const auto channels = windows.channels;
  const auto taps = windows.kernel * windows.kernel;
  forWindows(windows, first, count, [&](int64_t row, int64_t sample, int64_t top, int64_t left) {
    float* to = rows + row * stride;
    for (int64_t tap = 0; tap < taps; tap++) {
      const auto y = top + tap / windows.kernel;
      const auto column = left + tap % windows.kernel;
      const bool inside = y >= 0 && y < windows.height && column >= 0 && column < windows.width;
      const float* from = x + sample + (y * windows.width + column) * channels;
      for (int64_t c = 0; c < channels; c++) *to++ = inside ? from[c] : 0;
    }
  });
}

void scatter(const Windows& windows, const float* rows, int64_t stride, int64_t first, int64_t count, float* x) {
  const auto channels = windows.channels;
  const auto taps = windows.kernel * windows.kernel;
  forWindows(windows, first, count, [&](int64_t row, int64_t sample, int64_t top, int64_t left) {
    for (int64_t tap = 0; tap < taps; tap++) {
      const auto y = top + tap / windows.kernel;
      const auto column = left + tap % windows.kernel;
      if (y < 0 || y >= windows.height || column < 0 || column >= windows.width) continue;
      const float* __restrict from = rows + row * stride + tap * channels;
      float* __restrict to = x + sample + (y * windows.width + column) * channels;
      for (int64_t c = 0; c < channels; c++) to[c] += from[c];
    }
  });
}

}  // namespace

extern const MatrixKernels matrixKernels = {
    COLUMNS, packColumns, packRows, multiply, multiplyTransposed, gather, scatter,
};

}  // namespace GRADAMP_ISA
