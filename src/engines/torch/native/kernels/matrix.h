// Matrix products in float32, and the windows of a convolution as rows of a matrix.

#pragma once

#include <cstdint>

/** The places of a map that the outputs of a convolution read: a row of kernel * kernel * channels for each output. */
struct Windows {
  int64_t height;
  int64_t width;
  int64_t channels;
  int64_t outputHeight;
  int64_t outputWidth;
  int64_t kernel;
  int64_t stride;
  int64_t padding;
};

/** A product's right side may lie in panels of `panel` columns, [depth, panel] each; the last one is filled up with 0. */
struct MatrixKernels {
  int64_t panel;

  /** Panels first .. last - 1 of the transpose of w [columns, depth]. */
  void (*packColumns)(int64_t depth, int64_t columns, const float* w, int64_t first, int64_t last, float* packed);

  /** Panels first .. last - 1 of w [depth, columns]. */
  void (*packRows)(int64_t depth, int64_t columns, const float* w, int64_t first, int64_t last, float* packed);

  /** c [rows, columns] = a [rows, depth] * b, where b lies in panels. */
  void (*multiply)(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t aRow, const float* b, float* c,
                   int64_t cRow);

  /** c [rows, columns] (+)= transposed(a [depth, rows]) * b [depth, columns]; reads up to `panel` numbers behind b. */
  void (*multiplyTransposed)(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t aRow, const float* b,
                             int64_t bRow, bool add, float* c, int64_t cRow);

  /** The windows of the outputs first .. first + count - 1, counted over all samples, to rows that lie `stride` apart. */
  void (*gather)(const Windows& windows, const float* x, int64_t first, int64_t count, float* rows, int64_t stride);

  /** Adds rows back to the places that `gather` took them from. */
  void (*scatter)(const Windows& windows, const float* rows, int64_t stride, int64_t first, int64_t count, float* x);
};
