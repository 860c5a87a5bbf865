// Batch norm with the addition and the ReLU behind it, over maps [rows, channels]. Each direction is a sum by channel,
// then a pass over the map. All of it is bound by memory: threads hold 16 bytes of a row, and load several at once.
// The files that include this one make the kernels of an element type, so that the types are compiled side by side.

#pragma once

#include "arguments.h"
#include "device.cuh"

namespace {

/** Where a thread works: at rows row, row + stride, ... of V channels. */
template <int V>
struct Place {
  int lane;
  int line;
  int lines;
  /** Of the tile, and of the thread. */
  int tile;
  int channel;
  bool active;
  int64_t row;
  int64_t stride;

  __device__ explicit Place(const Map& map)
      : lane(threadIdx.x & (map.lanes - 1)),
        line(threadIdx.x / map.lanes),
        lines(blockDim.x / map.lanes),
        tile(blockIdx.y * map.lanes * V),
        channel(tile + lane * V),
        active(channel < map.channels),
        row(static_cast<int64_t>(blockIdx.x) * lines + line),
        stride(static_cast<int64_t>(gridDim.x) * lines) {}
};

/**
 * Calls body(k, position in the map) for the rows of a thread, AHEAD at a time, and before it `load` for all of these:
 * so many loads are under way at once, as far as there are registers.
 */
template <int AHEAD, int V, typename Load, typename Body>
__device__ inline void forRows(const Place<V>& place, const Map& map, bool backwards, Load load, Body body) {
  for (int64_t row = place.row; row < map.rows; row += AHEAD * place.stride) {
    const auto position = [&](int k) {
      const int64_t at = row + k * place.stride;
      return (backwards ? map.rows - 1 - at : at) * map.channels + place.channel;
    };
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      if (row + k * place.stride < map.rows) load(k, position(k));
    }
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      if (row + k * place.stride < map.rows) body(k, position(k));
    }
  }
}

/** Of V channels: parameters and statistics begin, like maps, at multiples of 16 bytes. */
template <int V>
__device__ inline void read(const float* from, float (&to)[V]) {
  if constexpr (V == 1) {
    to[0] = from[0];
  } else {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      float four[4];
      load<4>(from + i).unpack(four);
#pragma unroll
      for (int k = 0; k < 4; k++) to[i + k] = four[k];
    }
  }
}

/**
 * The map that normalisation is: both directions must get the same bits, since the backward one asks again what the
 * ReLU let pass.
 */
template <int V>
struct Affine {
  float scale[V];
  float offset[V];

  __device__ Affine(const Norm& norm, int channel) {
    float gamma[V], beta[V], mean[V], inverseDeviation[V];
    read(norm.gamma + channel, gamma);
    read(norm.beta + channel, beta);
    read(norm.mean + channel, mean);
    read(norm.inverseDeviation + channel, inverseDeviation);
#pragma unroll
    for (int i = 0; i < V; i++) {
      const double s = __dmul_rn(gamma[i], inverseDeviation[i]);
      scale[i] = static_cast<float>(s);
      offset[i] = static_cast<float>(__fma_rn(-s, static_cast<double>(mean[i]), static_cast<double>(beta[i])));
    }
  }

  __device__ float operator()(int i, float x) const { return __fmaf_rn(x, scale[i], offset[i]); }
};

/** Largest number that is stored as 0, or less: what the ReLU stops, seen from behind and from before the rounding. */
template <typename T>
__device__ inline float largestStopped() {
  return 0;
}

template <>
__device__ inline float largestStopped<bfloat16>() {
  // Half of the smallest bfloat16, a tie: 2^-134.
  return __uint_as_float(0x00008000u);
}

/**
 * Adds up two sums by channel over the block, and then over all blocks that work on the tile: in float64, and in the
 * same order whichever block ends last. There, calls body(channel, first sum, second sum) for each channel of the tile.
 */
template <int V, typename Body>
__device__ inline void reduceTile(const Place<V>& place, const Map& map, const float (&first)[V],
                                  const float (&second)[V], double* partial, int32_t* counters, Body body) {
  // By sum, then by line, then by channel of the tile.
  __shared__ float lines[2 * SUM_THREADS * V];
  __shared__ double groups[SUM_THREADS];
  const int width = map.lanes * V;
#pragma unroll
  for (int i = 0; i < V; i++) {
    lines[place.line * width + place.lane * V + i] = first[i];
    lines[SUM_THREADS * V + place.line * width + place.lane * V + i] = second[i];
  }
  __syncthreads();

  const int sums = 2 * width;
  const int thread = threadIdx.x;
  const int sum = thread % sums;
  const int64_t channel = place.tile + sum % width;
  // Of this sum, in the partial sums of the first block.
  const int64_t slot = (sum < width ? 0 : map.channels) + channel;
  const int64_t size = 2 * static_cast<int64_t>(map.channels);
  if (thread < sums && channel < map.channels) {
    const float* column = lines + (sum < width ? 0 : SUM_THREADS * V) + sum % width;
    double totals[4] = {};
    for (int line = 0; line < place.lines; line += 4) {
#pragma unroll
      for (int k = 0; k < 4; k++) totals[k] += column[(line + k) * width];
    }
    partial[blockIdx.x * size + slot] = (totals[0] + totals[1]) + (totals[2] + totals[3]);
  }
  const int blocks = gridDim.x;
  if (!isLastBlock(counters + blockIdx.y, blocks)) return;

  double total = 0;
  if (channel < map.channels) {
    constexpr int AHEAD = 8;
    const int step = SUM_THREADS / sums;
    for (int block = thread / sums; block < blocks; block += AHEAD * step) {
      double parts[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; k++) {
        const int at = block + k * step;
        parts[k] = at < blocks ? __ldcg(partial + at * size + slot) : 0;
      }
#pragma unroll
      for (int k = 0; k < AHEAD; k++) total += parts[k];
    }
  }
  groups[thread] = total;
  __syncthreads();
  if (thread >= width || channel >= map.channels) return;
  double total1 = 0;
  double total2 = 0;
  for (int group = thread; group < SUM_THREADS; group += sums) {
    total1 += groups[group];
    total2 += groups[group + width];
  }
  body(static_cast<int>(channel), total1, total2);
}

__device__ inline void mix(float& running, double momentum, double value) {
  running = static_cast<float>((1 - momentum) * running + momentum * value);
}

/** Saves what the pass goes on with, and mixes the running statistics. */
__device__ inline void keep(const Statistics& statistics, int c, double mean, double variance, double count) {
  statistics.mean[c] = static_cast<float>(mean);
  statistics.inverseDeviation[c] = static_cast<float>(1 / sqrt(variance + statistics.epsilon));
  mix(statistics.runningMean[c], statistics.momentum, mean);
  // The running variance is the unbiased one, as PyTorch's; of a single value there is none.
  mix(statistics.runningVariance[c], statistics.momentum, count > 1 ? variance * count / (count - 1) : variance);
}

/** What all workers are to know of this one's map. */
__device__ inline void writeOwn(double* own, const Map& map, int c, double first, double second) {
  own[c] = first;
  own[map.channels + c] = second;
  if (c == 0) own[2 * static_cast<int64_t>(map.channels)] = static_cast<double>(map.rows);
}

/** Sums of x - shift lose no digits to a mean far from 0; the shift is the channel's number in the first row. */
template <typename T, int V>
__device__ inline void moments(const MomentsArguments& arguments) {
  const Map map = arguments.map;
  const auto* x = static_cast<const T*>(arguments.x);
  const Place<V> place(map);
  float sum[V] = {};
  float square[V] = {};
  if (place.active) {
    constexpr int AHEAD = 4;
    float shift[V];
    load<V>(x + place.channel).unpack(shift);
    Pack<T, V> in[AHEAD];
    forRows<AHEAD>(
        place, map, false, [&](int k, int64_t at) { in[k] = load<V>(x + at); },
        [&](int k, int64_t) {
          float values[V];
          in[k].unpack(values);
#pragma unroll
          for (int i = 0; i < V; i++) {
            const float d = values[i] - shift[i];
            sum[i] += d;
            square[i] += d * d;
          }
        });
  }
  reduceTile(place, map, sum, square, arguments.partial, arguments.counters, [&](int c, double total, double squares) {
    const auto count = static_cast<double>(map.rows);
    float shift[1];
    load<1>(x + c).unpack(shift);
    const double distance = total / count;
    const double variance = fmax(0.0, squares / count - distance * distance);
    const double mean = shift[0] + distance;
    if (arguments.own) {
      writeOwn(arguments.own, map, c, mean, variance * count);
    } else {
      keep(arguments.statistics, c, mean, variance, count);
    }
  });
}

/** Of the maps of all workers, from their own moments, added up by rank; a channel a thread. */
__device__ inline void combineMoments(const AllMomentsArguments& arguments) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  const int channels = arguments.channels;
  if (c >= channels) return;
  const int64_t length = 2 * static_cast<int64_t>(channels) + 1;
  double count = 0;
  double total = 0;
  for (int worker = 0; worker < arguments.workers; worker++) {
    const double* own = arguments.all + worker * length;
    count += own[2 * channels];
    total += own[2 * channels] * own[c];
  }
  // No worker has a sample.
  if (count == 0) return;
  const double mean = total / count;
  double squares = 0;
  for (int worker = 0; worker < arguments.workers; worker++) {
    const double* own = arguments.all + worker * length;
    const double distance = own[c] - mean;
    squares += own[channels + c] + own[2 * channels] * (distance * distance);
  }
  keep(arguments.statistics, c, mean, squares / count, count);
}

/** What `moments` saves of a pass, of running statistics; a channel a thread. */
__device__ inline void readRunning(const RunningArguments& arguments) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= arguments.channels) return;
  arguments.mean[c] = arguments.runningMean[c];
  arguments.inverseDeviation[c] = static_cast<float>(1 / sqrt(arguments.runningVariance[c] + arguments.epsilon));
}

// Both passes over a map go backwards: what the sums before them read last is still in the cache.

template <typename T, int V, bool RESIDUAL>
__device__ inline void normalise(const NormaliseArguments& arguments) {
  const Map map = arguments.map;
  const bool relu = arguments.norm.relu;
  const auto* x = static_cast<const T*>(arguments.x);
  const auto* residual = static_cast<const T*>(arguments.residual);
  auto* y = static_cast<T*>(arguments.y);
  const Place<V> place(map);
  if (!place.active) return;
  const Affine<V> affine(arguments.norm, place.channel);
  constexpr int AHEAD = RESIDUAL ? 2 : 4;
  Pack<T, V> in[AHEAD];
  Pack<T, V> added[AHEAD];
  forRows<AHEAD>(
      place, map, true,
      [&](int k, int64_t at) {
        in[k] = load<V>(x + at);
        if (RESIDUAL) added[k] = load<V>(residual + at);
      },
      [&](int k, int64_t at) {
        float values[V];
        float more[V];
        in[k].unpack(values);
        if (RESIDUAL) added[k].unpack(more);
#pragma unroll
        for (int i = 0; i < V; i++) {
          float z = affine(i, values[i]);
          if (RESIDUAL) z = __fadd_rn(z, more[i]);
          // Written so that NaN stays NaN.
          values[i] = relu && z <= 0 ? 0 : z;
        }
        store(y + at, values);
      });
}

/**
 * With r = 1 / deviation: dx = factor * gamma * r * (g - mean(g) - (x - m) * r^2 * mean(g * (x - m))), from the sums that
 * the means are made of.
 */
__device__ inline void writeCoefficients(float* coefficients, int channels, const Norm& norm, double factor, int c,
                                         double sums, double products, double count) {
  const double r = norm.inverseDeviation[c];
  const double scale = factor * norm.gamma[c] * r;
  coefficients[c] = static_cast<float>(scale);
  coefficients[channels + c] = static_cast<float>(-scale * r * r * products / count);
  coefficients[2 * static_cast<int64_t>(channels) + c] = static_cast<float>(-scale * sums / count);
}

/** How g, what passes the ReLU, is made from dy: all of it; where y is above 0; where it was, by x once more. */
enum class Mask { none, output, again };

template <typename T, int V, Mask MASK>
__device__ inline void gradientSums(const GradientSumsArguments& arguments) {
  const Map map = arguments.map;
  const auto* x = static_cast<const T*>(arguments.x);
  const auto* y = static_cast<const T*>(arguments.y);
  const auto* dy = static_cast<const T*>(arguments.dy);
  auto* passed = static_cast<T*>(arguments.passed);
  const Place<V> place(map);
  float sum[V] = {};
  float product[V] = {};
  if (place.active) {
    constexpr int AHEAD = 4;
    const Affine<V> affine(arguments.norm, place.channel);
    float mean[V];
    read(arguments.norm.mean + place.channel, mean);
    Pack<T, V> in[AHEAD];
    Pack<T, V> out[AHEAD];
    Pack<T, V> gradient[AHEAD];
    forRows<AHEAD>(
        place, map, false,
        [&](int k, int64_t at) {
          in[k] = load<V>(x + at);
          if (MASK == Mask::output) out[k] = load<V>(y + at);
          gradient[k] = load<V>(dy + at);
        },
        [&](int k, int64_t at) {
          float values[V];
          float outputs[V];
          float g[V];
          in[k].unpack(values);
          if (MASK == Mask::output) out[k].unpack(outputs);
          gradient[k].unpack(g);
#pragma unroll
          for (int i = 0; i < V; i++) {
            if (MASK == Mask::output && outputs[i] <= 0) g[i] = 0;
            if (MASK == Mask::again && affine(i, values[i]) <= largestStopped<T>()) g[i] = 0;
            sum[i] += g[i];
            product[i] += g[i] * (values[i] - mean[i]);
          }
          if (MASK == Mask::output) store(passed + at, g);
        });
  }
  reduceTile(place, map, sum, product, arguments.partial, arguments.counters, [&](int c, double sums, double products) {
    if (arguments.own) {
      writeOwn(arguments.own, map, c, sums, products);
    } else {
      writeCoefficients(arguments.coefficients, map.channels, arguments.norm, arguments.factor, c, sums, products,
                        static_cast<double>(map.rows));
    }
    const double r = arguments.norm.inverseDeviation[c];
    const auto write = [&](float& gradient, double value) {
      gradient = arguments.accumulates ? gradient + static_cast<float>(value) : static_cast<float>(value);
    };
    write(arguments.gammaGradient[c], arguments.factor * r * products);
    write(arguments.betaGradient[c], arguments.factor * sums);
  });
}

/** Of the maps of all workers, from their own sums, added up by rank; a channel a thread. */
__device__ inline void combineGradientSums(const AllGradientSumsArguments& arguments) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  const int channels = arguments.channels;
  if (c >= channels) return;
  double sums = 0;
  double products = 0;
  double count = 0;
  for (int worker = 0; worker < arguments.workers; worker++) {
    const double* own = arguments.all + worker * (2 * static_cast<int64_t>(channels) + 1);
    sums += own[c];
    products += own[channels + c];
    count += own[2 * channels];
  }
  writeCoefficients(arguments.coefficients, channels, arguments.norm, arguments.factor, c, sums, products, count);
}

template <typename T, int V, Mask MASK>
__device__ inline void inputGradient(const InputGradientArguments& arguments) {
  const Map map = arguments.map;
  const auto* x = static_cast<const T*>(arguments.x);
  const auto* dy = static_cast<const T*>(arguments.dy);
  auto* dx = static_cast<T*>(arguments.dx);
  const Place<V> place(map);
  if (!place.active) return;
  const Affine<V> affine(arguments.norm, place.channel);
  float a[V], b[V], c[V], mean[V];
  read(arguments.coefficients + place.channel, a);
  read(arguments.coefficients + map.channels + place.channel, b);
  read(arguments.coefficients + 2 * static_cast<int64_t>(map.channels) + place.channel, c);
  read(arguments.norm.mean + place.channel, mean);
  constexpr int AHEAD = 4;
  Pack<T, V> in[AHEAD];
  Pack<T, V> gradient[AHEAD];
  forRows<AHEAD>(
      place, map, true,
      [&](int k, int64_t at) {
        in[k] = load<V>(x + at);
        gradient[k] = load<V>(dy + at);
      },
      [&](int k, int64_t at) {
        float values[V];
        float g[V];
        in[k].unpack(values);
        gradient[k].unpack(g);
#pragma unroll
        for (int i = 0; i < V; i++) {
          if (MASK == Mask::again && affine(i, values[i]) <= largestStopped<T>()) g[i] = 0;
          g[i] = a[i] * g[i] + (b[i] * (values[i] - mean[i]) + c[i]);
        }
        store(dx + at, g);
      });
}

}  // namespace

#define KERNEL(THREADS, BLOCKS, NAME, ARGUMENTS, ...)                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const ARGUMENTS arguments) { \
    __VA_ARGS__(arguments);                                                                      \
  }

#define KERNELS(SUFFIX, ...)                                                                                   \
  KERNEL(SUM_THREADS, MOMENTS_BLOCKS, moments_##SUFFIX, MomentsArguments, moments<__VA_ARGS__>)                \
  KERNEL(THREADS, NORMALISE_BLOCKS, normalise_##SUFFIX, NormaliseArguments, normalise<__VA_ARGS__, false>)     \
  KERNEL(THREADS, NORMALISE_BLOCKS, normaliseAndAdd_##SUFFIX, NormaliseArguments, normalise<__VA_ARGS__, true>) \
  KERNEL(SUM_THREADS, GRADIENT_SUMS_BLOCKS, gradientSums_##SUFFIX, GradientSumsArguments,                      \
         gradientSums<__VA_ARGS__, Mask::none>)                                                                \
  KERNEL(SUM_THREADS, GRADIENT_SUMS_BLOCKS, gradientSumsByOutput_##SUFFIX, GradientSumsArguments,              \
         gradientSums<__VA_ARGS__, Mask::output>)                                                              \
  KERNEL(SUM_THREADS, GRADIENT_SUMS_BLOCKS, gradientSumsAgain_##SUFFIX, GradientSumsArguments,                 \
         gradientSums<__VA_ARGS__, Mask::again>)                                                               \
  KERNEL(THREADS, INPUT_GRADIENT_BLOCKS, inputGradient_##SUFFIX, InputGradientArguments,                            \
         inputGradient<__VA_ARGS__, Mask::none>)                                                               \
  KERNEL(THREADS, INPUT_GRADIENT_BLOCKS, inputGradientAgain_##SUFFIX, InputGradientArguments,                       \
         inputGradient<__VA_ARGS__, Mask::again>)
