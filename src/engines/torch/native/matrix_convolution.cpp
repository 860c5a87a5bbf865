#include "matrix_convolution.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "operations.h"

namespace {

/** Rows of a product that a thread works on at once: with their windows they stay in the cache. */
constexpr int64_t BLOCK = 96;
/** Keeps rows of a power of two from falling into the same sets of the cache. */
constexpr int64_t GAP = 16;
/** Filters that a thread takes at once: a multiple of the rows of every register tile. */
constexpr int64_t FILTERS = 12;

const float* floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

at::Tensor numbers(int64_t count) { return at::empty({count}, at::kFloat); }

at::Tensor map(int64_t samples, int64_t channels, int64_t height, int64_t width) {
  return at::empty({samples, channels, height, width},
                   at::TensorOptions(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast));
}

struct Convolution {
  int64_t samples;
  int64_t outputs;
  Windows windows;
  /** Outputs of a filter, over all samples. */
  int64_t rows;
  /** Places that an output reads. */
  int64_t depth;

  Convolution(const Step& step, at::IntArrayRef input)
      : samples(input[0]), outputs(step.weight->shape[0]) {
    const auto extent = [&](int64_t size) { return (size + 2 * step.padding - step.kernel) / step.stride + 1; };
    depth = step.kernel * step.kernel * input[1];
    windows = {.height = input[2],
               .width = input[3],
               .channels = input[1],
               .outputHeight = extent(input[2]),
               .outputWidth = extent(input[3]),
               .kernel = step.kernel,
               .stride = step.stride,
               .padding = step.padding};
    rows = samples * windows.outputHeight * windows.outputWidth;
  }

  /** Whether the input is the matrix of its windows. */
  bool isProduct() const { return windows.kernel == 1 && windows.stride == 1 && windows.padding == 0; }
};

/** Calls body(first, count) on every thread with its share of `count` items, `step` at a time. */
template <typename Body>
void shareBlocks(int64_t count, int64_t step, Body body) {
  at::parallel_for(0, (count + step - 1) / step, 1, [&](int64_t begin, int64_t end) {
    body(begin * step, std::min(end * step, count) - begin * step);
  });
}

int64_t panelsOf(int64_t columns) {
  const auto panel = kernels().matrix->panel;
  return (columns + panel - 1) / panel;
}

void addBias(const Step& step, const at::Tensor& parameters, at::Tensor& y) {
  if (step.bias) y.add_(viewOf(parameters, *step.bias).view({1, -1, 1, 1}));
}

}  // namespace

bool matrixConvolutionServes(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

at::Tensor matrixConvolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters) {
  const auto& kernel = *kernels().matrix;
  const Convolution convolution(step, x.sizes());
  const auto& windows = convolution.windows;
  const auto outputs = convolution.outputs;
  const auto depth = convolution.depth;
  const auto panels = panelsOf(outputs);
  const auto filter = numbers(depth * panels * kernel.panel);
  shareBlocks(panels, 1, [&](int64_t first, int64_t count) {
    kernel.packColumns(depth, outputs, floats(parameters) + step.weight->offset, first, first + count,
                       filter.data_ptr<float>());
  });
  auto y = map(convolution.samples, outputs, windows.outputHeight, windows.outputWidth);
  shareBlocks(convolution.rows, BLOCK, [&](int64_t first, int64_t count) {
    const auto buffer = convolution.isProduct() ? at::Tensor() : numbers(BLOCK * depth);
    for (auto row = first; row < first + count; row += BLOCK) {
      const auto size = std::min(BLOCK, first + count - row);
      if (buffer.defined()) kernel.gather(windows, floats(x), row, size, buffer.data_ptr<float>(), depth);
      kernel.multiply(size, depth, outputs, buffer.defined() ? floats(buffer) : floats(x) + row * depth, depth,
                      floats(filter), y.data_ptr<float>() + row * outputs, outputs);
    }
  });
  addBias(step, parameters, y);
  return y;
}

at::Tensor matrixInputGradient(const Step& step, at::IntArrayRef inputShape, const at::Tensor& dy,
                               const at::Tensor& parameters) {
  const auto& kernel = *kernels().matrix;
  const Convolution convolution(step, inputShape);
  const auto& windows = convolution.windows;
  const auto outputs = convolution.outputs;
  const auto depth = convolution.depth;
  const auto panels = panelsOf(depth);
  const auto filter = numbers(outputs * panels * kernel.panel);
  shareBlocks(panels, 1, [&](int64_t first, int64_t count) {
    kernel.packRows(outputs, depth, floats(parameters) + step.weight->offset, first, first + count,
                    filter.data_ptr<float>());
  });
  auto dx = map(convolution.samples, windows.channels, windows.height, windows.width);
  auto* to = dx.data_ptr<float>();
  if (convolution.isProduct()) {
    shareBlocks(convolution.rows, BLOCK, [&](int64_t first, int64_t count) {
      for (auto row = first; row < first + count; row += BLOCK) {
        kernel.multiply(std::min(BLOCK, first + count - row), outputs, depth, floats(dy) + row * outputs, outputs,
                        floats(filter), to + row * depth, depth);
      }
    });
    return dx;
  }
  // Windows overlap: a sample is one thread's.
  const auto each = windows.outputHeight * windows.outputWidth;
  const auto size = windows.height * windows.width * windows.channels;
  at::parallel_for(0, convolution.samples, 1, [&](int64_t begin, int64_t end) {
    std::fill(to + begin * size, to + end * size, 0.0F);
    const auto buffer = numbers(BLOCK * depth);
    for (auto row = begin * each; row < end * each; row += BLOCK) {
      const auto count = std::min(BLOCK, end * each - row);
      kernel.multiply(count, outputs, depth, floats(dy) + row * outputs, outputs, floats(filter),
                      buffer.data_ptr<float>(), depth);
      kernel.scatter(windows, floats(buffer), depth, row, count, to);
    }
  });
  return dx;
}

void matrixWeightGradient(const Step& step, const at::Tensor& x, const at::Tensor& dy, const at::Tensor& gradient) {
  const auto& kernel = *kernels().matrix;
  const Convolution convolution(step, x.sizes());
  const auto outputs = convolution.outputs;
  const auto depth = convolution.depth;
  const auto block = std::min(convolution.rows, BLOCK * at::get_num_threads());
  const auto inputRow = depth + GAP;
  const auto inputs = numbers(block * inputRow + kernel.panel);
  auto* const windows = inputs.data_ptr<float>();
  // Wide rows are copied even where they could be read in place: apart by a power of two, they would evict each other.
  const bool copied = outputs >= 4 * GAP;
  const auto outputRow = outputs + (copied ? GAP : 0);
  const auto gradients = numbers(copied ? block * outputRow : 0);
  for (int64_t row = 0; row < convolution.rows; row += block) {
    const auto size = std::min(block, convolution.rows - row);
    const auto* const from = floats(dy) + row * outputs;
    auto* const copy = gradients.data_ptr<float>();
    at::parallel_for(0, size, 1, [&](int64_t begin, int64_t end) {
      kernel.gather(convolution.windows, floats(x), row + begin, end - begin, windows + begin * inputRow, inputRow);
      if (!copied) return;
      for (auto i = begin; i < end; i++) std::copy_n(from + i * outputs, outputs, copy + i * outputRow);
    });
    // Each filter is one thread's.
    shareBlocks(outputs, FILTERS, [&](int64_t first, int64_t count) {
      kernel.multiplyTransposed(count, size, depth, (copied ? copy : from) + first, outputRow, windows, inputRow, true,
                                gradient.data_ptr<float>() + step.weight->offset + first * depth, depth);
    });
  }
  if (step.bias) viewOf(gradient, *step.bias).add_(at::sum(dy, {0, 2, 3}));
}
