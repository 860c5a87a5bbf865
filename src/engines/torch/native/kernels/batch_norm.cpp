#include "batch_norm.h"

#include "kernels.h"

namespace GRADAMP_ISA {

namespace {

/** Before a loop: its iterations do not touch each other's numbers, though pointers may be the same. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/** Rows whose sums are kept in float32, and channels that fit a few registers' worth of the cache. */
constexpr int64_t BLOCK_ROWS = 64;
constexpr int64_t BLOCK_CHANNELS = 256;

/** Calls body(first row, rows, first channel, channels) for every block. */
template <typename Body>
inline void forBlocks(int64_t rows, int64_t channels, Body body) {
  for (int64_t row = 0; row < rows; row += BLOCK_ROWS) {
    const auto blockRows = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
    for (int64_t channel = 0; channel < channels; channel += BLOCK_CHANNELS) {
      body(row, blockRows, channel, channels - channel < BLOCK_CHANNELS ? channels - channel : BLOCK_CHANNELS);
    }
  }
}

void moments(int64_t rows, int64_t channels, const float* x, const float* shift, double* sums, double* squares) {
  forBlocks(rows, channels, [&](int64_t first, int64_t count, int64_t channel, int64_t width) {
    float sum[BLOCK_CHANNELS] = {};
    float square[BLOCK_CHANNELS] = {};
    const float* __restrict s = shift + channel;
    for (int64_t row = first; row < first + count; row++) {
      const float* __restrict in = x + row * channels + channel;
      for (int64_t c = 0; c < width; c++) {
        const float d = in[c] - s[c];
        sum[c] += d;
        square[c] += d * d;
      }
    }
    for (int64_t c = 0; c < width; c++) {
      sums[channel + c] += sum[c];
      squares[channel + c] += square[c];
    }
  });
}

template <bool RELU, bool RESIDUAL>
void forwardAs(const Affine& affine, int64_t rows, const float* x, const float* residual, float* y) {
  const auto channels = affine.channels;
  const float* __restrict scale = affine.scale;
  const float* __restrict offset = affine.offset;
  for (int64_t row = 0; row < rows; row++) {
    const float* __restrict in = x + row * channels;
    const float* __restrict add = RESIDUAL ? residual + row * channels : nullptr;
    float* __restrict out = y + row * channels;
    for (int64_t c = 0; c < channels; c++) {
      float value = in[c] * scale[c] + offset[c];
      if (RESIDUAL) value += add[c];
      // Written so that NaN stays NaN.
      out[c] = RELU && value <= 0 ? 0 : value;
    }
  }
}

void forward(const Affine& affine, int64_t rows, const float* x, const float* residual, float* y) {
  if (affine.relu) {
    (residual ? forwardAs<true, true> : forwardAs<true, false>)(affine, rows, x, residual, y);
  } else {
    (residual ? forwardAs<false, true> : forwardAs<false, false>)(affine, rows, x, residual, y);
  }
}

/** How g is made from dy. */
enum class Mask { none, output, again };

template <Mask MASK>
inline float passed(float dy, float x, float y, float scale, float offset) {
  if (MASK == Mask::output) return y <= 0 ? 0 : dy;
  if (MASK == Mask::again) return x * scale + offset <= 0 ? 0 : dy;
  return dy;
}

template <Mask MASK>
void gradientSumsAs(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* y, float* dy,
                    double* sums, double* products) {
  const auto channels = affine.channels;
  forBlocks(rows, channels, [&](int64_t first, int64_t count, int64_t channel, int64_t width) {
    float sum[BLOCK_CHANNELS] = {};
    float product[BLOCK_CHANNELS] = {};
    const float* __restrict m = mean + channel;
    const float* __restrict scale = affine.scale + channel;
    const float* __restrict offset = affine.offset + channel;
    for (int64_t row = first; row < first + count; row++) {
      const auto start = row * channels + channel;
      const float* __restrict in = x + start;
      const float* __restrict out = MASK == Mask::output ? y + start : nullptr;
      float* __restrict gradient = dy + start;
      for (int64_t c = 0; c < width; c++) {
        const float g = passed<MASK>(gradient[c], in[c], MASK == Mask::output ? out[c] : 0, scale[c], offset[c]);
        sum[c] += g;
        product[c] += g * (in[c] - m[c]);
        if (MASK == Mask::output) gradient[c] = g;
      }
    }
    for (int64_t c = 0; c < width; c++) {
      sums[channel + c] += sum[c];
      products[channel + c] += product[c];
    }
  });
}

void gradientSums(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* y, float* dy,
                  double* sums, double* products) {
  const auto sum = !affine.relu ? gradientSumsAs<Mask::none>
                   : y          ? gradientSumsAs<Mask::output>
                                : gradientSumsAs<Mask::again>;
  sum(affine, rows, x, mean, y, dy, sums, products);
}

template <Mask MASK>
void inputGradientAs(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* dy,
                     const float* a, const float* b, const float* c, float* dx) {
  const auto channels = affine.channels;
  for (int64_t row = 0; row < rows; row++) {
    const float* in = x + row * channels;
    const float* gradient = dy + row * channels;
    float* out = dx + row * channels;
    // dx may be dy: no pointer here is __restrict, but each element is read before it is written.
    INDEPENDENT
    for (int64_t k = 0; k < channels; k++) {
      const float g = passed<MASK>(gradient[k], in[k], 0, affine.scale[k], affine.offset[k]);
      out[k] = a[k] * g + b[k] * (in[k] - mean[k]) + c[k];
    }
  }
}

void inputGradient(const Affine& affine, int64_t rows, const float* x, const float* mean, const float* dy, bool masked,
                   const float* a, const float* b, const float* c, float* dx) {
  const auto gradient = affine.relu && !masked ? inputGradientAs<Mask::again> : inputGradientAs<Mask::none>;
  gradient(affine, rows, x, mean, dy, a, b, c, dx);
}

}  // namespace

extern const BatchNormKernels batchNormKernels = {moments, forward, gradientSums, inputGradient};

}  // namespace GRADAMP_ISA
