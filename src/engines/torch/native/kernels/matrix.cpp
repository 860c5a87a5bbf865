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

/** A row of a window: so many numbers outside the map before it, inside the map, and outside again behind it. */
struct Run {
  int64_t before;
  int64_t inside;
  int64_t behind;
  /** Where those inside begin; neighbours in a map's row are neighbours in memory. */
  int64_t start;
};

/** Calls body(run, place) for each row of each window; `place` is where it belongs in rows that lie `stride` apart. */
template <typename Body>
inline void forRuns(const Windows& windows, int64_t first, int64_t count, int64_t stride, Body body) {
  const auto kernel = windows.kernel;
  const auto channels = windows.channels;
  const auto within = [&](int64_t value) { return value < 0 ? 0 : value < kernel ? value : kernel; };
  auto column = first % windows.outputWidth;
  auto line = first / windows.outputWidth % windows.outputHeight;
  auto sample = first / windows.outputWidth / windows.outputHeight;
  for (int64_t row = 0; row < count; row++) {
    const auto top = line * windows.stride - windows.padding;
    const auto left = column * windows.stride - windows.padding;
    const auto before = within(-left);
    const auto end = within(windows.width - left);
    for (int64_t i = 0; i < kernel; i++) {
      const auto y = top + i;
      const auto place = row * stride + i * kernel * channels;
      if (y < 0 || y >= windows.height || end <= before) {
        body(Run{kernel * channels, 0, 0, 0}, place);
      } else {
        const auto start = ((sample * windows.height + y) * windows.width + left + before) * channels;
        body(Run{before * channels, (end - before) * channels, (kernel - end) * channels, start}, place);
      }
    }
    // Without divisions, which would cost as much as copying a short row.
    if (++column < windows.outputWidth) continue;
    column = 0;
    if (++line < windows.outputHeight) continue;
    line = 0;
    sample++;
  }
}

inline void copy(const float* __restrict from, int64_t count, float* __restrict to) {
  if (count < LANES) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i];
    return;
  }
  for (int64_t i = 0; i + LANES < count; i += LANES) store(to + i, load(from + i));
  // Some numbers a second time, in place of one by one.
  store(to + count - LANES, load(from + count - LANES));
}

inline void clear(float* to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = 0;
}

void gather(const Windows& windows, const float* x, int64_t first, int64_t count, float* rows, int64_t stride) {
  forRuns(windows, first, count, stride, [&](const Run& run, int64_t place) {
    float* to = rows + place;
    if (run.before > 0) clear(to, run.before);
    copy(x + run.start, run.inside, to + run.before);
    if (run.behind > 0) clear(to + run.before + run.inside, run.behind);
  });
}

void scatter(const Windows& windows, const float* rows, int64_t stride, int64_t first, int64_t count, float* x) {
  forRuns(windows, first, count, stride, [&](const Run& run, int64_t place) {
    const float* __restrict from = rows + place + run.before;
    float* __restrict to = x + run.start;
    int64_t i = 0;
    for (; i + LANES <= run.inside; i += LANES) store(to + i, load(to + i) + load(from + i));
    for (; i < run.inside; i++) to[i] += from[i];
  });
}

}  // namespace

extern const MatrixKernels matrixKernels = {
    COLUMNS, packColumns, packRows, multiply, multiplyTransposed, gather, scatter,
};

}  // namespace GRADAMP_ISA
