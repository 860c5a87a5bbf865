#include "winograd.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "operations.h"

namespace {

/** Bytes of transformed tiles that a thread works on at once: they stay in the cache between their three stages. */
constexpr int64_t WORKING_SET = 2 << 20;
/** So many tiles at least: each filter value that is loaded serves that many. */
constexpr int64_t FEWEST_TILES = 96;
/** Numbers of a cache line. */
constexpr int64_t LINE = 16;

const float* floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

/** How a convolution's maps are cut into tiles. */
struct Tiling {
  /** Outputs of a tile: m x m. */
  int m;
  int64_t positions;
  int64_t tiles;
  /** Tiles worked on at once. */
  int64_t block;

  Tiling(const at::Tensor& map, int64_t inputs, int64_t outputs) {
    const auto height = map.size(2);
    const auto width = map.size(3);
    // On small maps the transforms of the filters cost more than the products.
    m = height > 4 || width > 4 ? 4 : 2;
    positions = (m + 2) * (m + 2);
    tiles = map.size(0) * ((height + m - 1) / m) * ((width + m - 1) / m);
    const auto fitting = at::get_num_threads() * WORKING_SET / (positions * (inputs + outputs) * static_cast<int64_t>(sizeof(float)));
    block = std::min(tiles, std::max(fitting, FEWEST_TILES));
  }

  /** Calls body(first tile, tiles) block by block. */
  template <typename Body>
  void forBlocks(Body body) const {
    for (int64_t first = 0; first < tiles; first += block) body(first, std::min(block, tiles - first));
  }
};

/**
 * Memory for the transformed tiles of a block. A transform touches a line of every position: an odd number of lines apart,
 * these fall into different sets of the cache. A product touches several rows: those of a power of two need a gap for it,
 * unless they are so short that a gap would be a large part of them.
 */
class TileBuffer {
 public:
  TileBuffer(const Tiling& tiling, int64_t channels)
      : row_(channels % (4 * LINE) == 0 ? channels + LINE : channels),
        position_(((tiling.block * row_ + LINE - 1) / LINE | 1) * LINE),
        values_(at::empty({tiling.positions * position_}, at::kFloat)) {}

  WinogradTiles from(int64_t row) const { return {position(0) + row * row_, position_, row_}; }
  float* position(int64_t p) const { return values_.data_ptr<float>() + p * position_; }
  int64_t row() const { return row_; }

 private:
  int64_t row_;
  int64_t position_;
  at::Tensor values_;
};

/** A map's shape, with its outside. */
class MapShape {
 public:
  explicit MapShape(const at::Tensor& map)
      : outside_(static_cast<size_t>(2 * map.size(1))),
        map_{map.size(2), map.size(3), map.size(1), outside_.data(), outside_.data() + map.size(1)} {}

  const WinogradMap& operator*() const { return map_; }

 private:
  std::vector<float> outside_;
  WinogradMap map_;
};

/** Calls body(first, count) on every thread with its share of `count` items. */
template <typename Body>
void share(int64_t count, Body body) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { body(begin, end - begin); });
}

/** Calls body(position, first row, rows): positions are shared among the threads, and cut where these are many. */
template <typename Body>
void sharePositions(int64_t positions, int64_t rows, Body body) {
  const int64_t cuts = std::clamp<int64_t>(4 * at::get_num_threads() / positions, 1, rows);
  at::parallel_for(0, positions * cuts, 1, [&](int64_t begin, int64_t end) {
    for (auto item = begin; item < end; item++) {
      const auto cut = item % cuts;
      const auto first = rows * cut / cuts;
      body(item / cuts, first, rows * (cut + 1) / cuts - first);
    }
  });
}

/** y = the convolution of x with a filter [columns or depth, 3, 3, ...]; see WinogradKernels::filterTransform. */
at::Tensor convolveWith(const float* filter, int64_t outputs, int64_t inputs, bool forward, const at::Tensor& x,
                        const float* bias) {
  const auto& kernel = *kernels().winograd;
  const auto& matrix = *kernels().matrix;
  const auto depth = forward ? inputs : outputs;
  const auto columns = forward ? outputs : inputs;
  const Tiling tiling(x, depth, columns);
  const auto transformed = at::empty({tiling.positions * depth * columns}, at::kFloat);
  share(columns / matrix.panel, [&](int64_t first, int64_t count) {
    std::vector<float> scratch(static_cast<size_t>(9 * inputs * matrix.panel));
    kernel.filterTransform(tiling.m, forward, outputs, inputs, filter, first, first + count, scratch.data(),
                           transformed.data_ptr<float>());
  });

  auto y = at::empty({x.size(0), columns, x.size(2), x.size(3)},
                     x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const MapShape from(x), to(y);
  const TileBuffer source(tiling, depth), product(tiling, columns);
  tiling.forBlocks([&](int64_t tile, int64_t tiles) {
    share(tiles, [&](int64_t first, int64_t count) {
      kernel.inputTransform(tiling.m, *from, floats(x), tile + first, count, source.from(first));
    });
    sharePositions(tiling.positions, tiles, [&](int64_t position, int64_t first, int64_t rows) {
      matrix.multiply(rows, depth, columns, source.position(position) + first * source.row(), source.row(),
                      floats(transformed) + position * depth * columns,
                      product.position(position) + first * product.row(), product.row());
    });
    share(tiles, [&](int64_t first, int64_t count) {
      // Each thread has a sink of its own.
      const MapShape shape(y);
      kernel.outputTransform(tiling.m, *shape, product.from(first), tile + first, count, bias, y.data_ptr<float>());
    });
  });
  return y;
}

}  // namespace

bool winogradServes(const Step& step, const at::Tensor& x) {
  const auto panel = kernels().matrix->panel;
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && step.kernel == 3 && step.stride == 1 &&
         step.padding == 1 && step.weight->shape[0] % panel == 0 && step.weight->shape[1] % panel == 0;
}

at::Tensor winogradConvolve(const Step& step, const at::Tensor& x, const at::Tensor& parameters) {
  const auto& shape = step.weight->shape;
  return convolveWith(floats(parameters) + step.weight->offset, shape[0], shape[1], true, x,
                      step.bias ? floats(parameters) + step.bias->offset : nullptr);
}

at::Tensor winogradInputGradient(const Step& step, const at::Tensor& dy, const at::Tensor& parameters) {
  const auto& shape = step.weight->shape;
  return convolveWith(floats(parameters) + step.weight->offset, shape[0], shape[1], false, dy, nullptr);
}

void winogradWeightGradient(const Step& step, const at::Tensor& x, const at::Tensor& dy, const at::Tensor& gradient) {
  const auto& kernel = *kernels().winograd;
  const auto& matrix = *kernels().matrix;
  const auto outputs = step.weight->shape[0];
  const auto inputs = step.weight->shape[1];
  const Tiling tiling(x, inputs, outputs);
  const auto transformed = at::empty({tiling.positions * outputs * inputs}, at::kFloat);
  const MapShape from(x), to(dy);
  const TileBuffer source(tiling, inputs), target(tiling, outputs);
  tiling.forBlocks([&](int64_t tile, int64_t tiles) {
    share(tiles, [&](int64_t first, int64_t count) {
      kernel.inputTransform(tiling.m, *from, floats(x), tile + first, count, source.from(first));
      kernel.outputGradientTransform(tiling.m, *to, floats(dy), tile + first, count, target.from(first));
    });
    sharePositions(tiling.positions, outputs, [&](int64_t position, int64_t first, int64_t rows) {
      matrix.multiplyTransposed(rows, tiles, inputs, target.position(position) + first, target.row(),
                                source.position(position), source.row(), tile > 0,
                                transformed.data_ptr<float>() + (position * outputs + first) * inputs, inputs);
    });
  });
  share(outputs, [&](int64_t first, int64_t count) {
    kernel.filterGradientTransform(tiling.m, outputs, inputs, floats(transformed), first, first + count,
                                   gradient.data_ptr<float>() + step.weight->offset);
  });
  if (step.bias) viewOf(gradient, *step.bias).add_(at::sum(dy, {0, 2, 3}));
}
