#include "kernels.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <string>

#include "../operations.h"
#include "kernels/arguments.h"
#include "module.h"

namespace cuda {

namespace {

constexpr int64_t VECTOR_BYTES = 16;
/** Of the channels: 256 bytes of a row. */
constexpr int64_t MOST_VECTOR_LANES = 16;
constexpr int64_t MOST_SCALAR_LANES = 32;
/** A thread sums so many rows in float32, and, where the map is small, no fewer than these. */
constexpr int64_t MOST_ROWS = 128;
constexpr int64_t FEWEST_ROWS = 2;

bool isAligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % VECTOR_BYTES == 0; }

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

Grid gridOf(int64_t blocks) {
  TORCH_CHECK(blocks <= INT32_MAX, "expected at most ", INT32_MAX, " blocks, got ", blocks);
  return {static_cast<unsigned>(blocks)};
}

/** Blocks that are at once on the device. */
int64_t residentBlocks(int perMultiprocessor) { return int64_t{multiprocessorCount()} * perMultiprocessor; }

int64_t rowsOf(const at::Tensor& map) { return map.numel() / map.size(1); }

/** A kernel's name ends with the type that it is for. */
std::string named(const char* kernel, at::ScalarType type) {
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, kernel, ": expected float32 or bfloat16, got ", type);
  return std::string(kernel) + (type == at::kFloat ? "_float" : "_bfloat16");
}

/** How the blocks of a kernel share a map. */
struct Tiling {
  Map map;
  bool vector;
  at::ScalarType type;
  int64_t tiles;

  /** `maps`: all that is read or written, undefined ones aside; `channelwise`: what is read along with them. */
  explicit Tiling(std::initializer_list<at::Tensor> maps, std::initializer_list<const float*> channelwise = {}) {
    const auto& x = *maps.begin();
    type = x.scalar_type();
    const auto channels = x.size(1);
    vector = channels * x.element_size() % VECTOR_BYTES == 0;
    for (const auto& other : maps) vector = vector && (!other.defined() || isAligned(other.data_ptr()));
    for (const auto* values : channelwise) vector = vector && isAligned(values);
    const auto width = vector ? VECTOR_BYTES / x.element_size() : 1;
    const auto most = vector ? MOST_VECTOR_LANES : MOST_SCALAR_LANES;
    int64_t lanes = 1;
    while (lanes < most && lanes * width < channels) lanes *= 2;
    tiles = ceilDivide(channels, lanes * width);
    TORCH_CHECK(tiles <= UINT16_MAX, "expected at most ", UINT16_MAX * lanes * width, " channels, got ", channels);
    map = {rowsOf(x), static_cast<int32_t>(channels), static_cast<int32_t>(lanes)};
  }

  /** Enough blocks along the rows to fill the device, but no more than have something to do. */
  Grid grid(int threads, int perMultiprocessor, int64_t mostRows) const {
    const auto lines = threads / map.lanes;
    const auto wanted = std::max(ceilDivide(residentBlocks(perMultiprocessor), tiles),
                                 ceilDivide(map.rows, lines * mostRows));
    const auto useful = ceilDivide(map.rows, lines * FEWEST_ROWS);
    const auto blocks = gridOf(std::min(wanted, useful));
    return {blocks.x, static_cast<unsigned>(tiles)};
  }

  template <typename Argument>
  void launchSums(const char* kernel, Grid grid, const Argument& argument) const {
    launch(name(kernel).c_str(), grid, SUM_THREADS, argument);
  }

  /** A pass over the map that sums nothing up. */
  template <typename Argument>
  void launchPass(const char* kernel, int perMultiprocessor, const Argument& argument) const {
    launch(name(kernel).c_str(), grid(THREADS, perMultiprocessor, map.rows), THREADS, argument);
  }

 private:
  std::string name(const char* kernel) const { return named(kernel, type) + (vector ? "Vector" : ""); }
};

/** What a sum over the blocks of a grid needs. */
struct Workspace {
  at::Tensor partial;
  at::Tensor counters;

  Workspace(const Tiling& tiling, Grid grid, const Vectors& vectors)
      : partial(at::empty({int64_t{grid.x}, 2, tiling.map.channels}, vectors.parameters.options().dtype(at::kDouble))) {
    const auto given = vectors.counters.defined() && vectors.counters.numel() >= tiling.tiles;
    counters = given ? vectors.counters : at::zeros({tiling.tiles}, partial.options().dtype(at::kInt));
  }
};

float* floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

void* dataOf(const at::Tensor& tensor) { return tensor.defined() ? tensor.data_ptr() : nullptr; }

Norm normOf(const Step& step, const Vectors& vectors, const float* mean, const float* inverseDeviation) {
  return {
      .gamma = floats(vectors.parameters) + step.weight->offset,
      .beta = floats(vectors.parameters) + step.bias->offset,
      .mean = mean,
      .inverseDeviation = inverseDeviation,
      .relu = step.relu,
  };
}

Norm normOf(const Step& step, const Vectors& vectors, const Saved& saved) {
  return normOf(step, vectors, floats(saved.mean), floats(saved.inverseDeviation));
}

float* runningMean(const Step& step, const Vectors& vectors) {
  return floats(vectors.statistics) + step.statisticsOffset;
}

float* runningVariance(const Step& step, const Vectors& vectors) {
  return runningMean(step, vectors) + step.weight->size;
}

Statistics statisticsOf(const Step& step, const Vectors& vectors, const Saved& saved) {
  return {
      .epsilon = step.epsilon,
      .momentum = step.momentum,
      .runningMean = runningMean(step, vectors),
      .runningVariance = runningVariance(step, vectors),
      .mean = floats(saved.mean),
      .inverseDeviation = floats(saved.inverseDeviation),
  };
}

/** What all workers are to know of this one's pass, where batch norms take their statistics over all: 0 of an empty map. */
at::Tensor ownSums(const at::Tensor& x, const Vectors& vectors) {
  if (!vectors.allGather) return {};
  const auto options = vectors.parameters.options().dtype(at::kDouble);
  const auto length = 2 * x.size(1) + 1;
  return x.numel() == 0 ? at::zeros({length}, options) : at::empty({length}, options);
}

double* doubles(const at::Tensor& tensor) { return tensor.defined() ? tensor.data_ptr<double>() : nullptr; }

/** A channel a thread. */
template <typename Argument>
void launchChannels(const char* kernel, const Argument& argument) {
  launch(kernel, gridOf(ceilDivide(argument.channels, THREADS)), THREADS, argument);
}

/** The statistics of the maps of all workers, from what each knows of its own. */
void keepAllMoments(const Step& step, const Vectors& vectors, const at::Tensor& all, const Saved& saved) {
  const AllMomentsArguments arguments = {
      .all = doubles(all),
      .workers = static_cast<int32_t>(all.size(0)),
      .channels = static_cast<int32_t>(saved.mean.size(0)),
      .statistics = statisticsOf(step, vectors, saved),
  };
  launchChannels("allMoments", arguments);
}

/** The coefficients of dx, likewise. */
void writeCoefficients(const Norm& norm, double factor, const at::Tensor& all, const at::Tensor& coefficients) {
  const AllGradientSumsArguments arguments = {
      .all = doubles(all),
      .workers = static_cast<int32_t>(all.size(0)),
      .channels = static_cast<int32_t>(coefficients.size(1)),
      .norm = norm,
      .factor = factor,
      .coefficients = floats(coefficients),
  };
  launchChannels("allGradientSums", arguments);
}

/** Its numbers in the order that the kernels read. */
at::Tensor channelsLast(const at::Tensor& map) { return map.contiguous(at::MemoryFormat::ChannelsLast); }

at::Tensor apply(const Norm& norm, const at::Tensor& x, const at::Tensor& residual) {
  const auto added = residual.defined() ? channelsLast(residual) : at::Tensor();
  auto y = at::empty_like(x);
  if (x.numel() == 0) return y;
  const Tiling tiling({x, added, y}, {norm.gamma, norm.beta});
  const NormaliseArguments arguments = {
      .map = tiling.map,
      .norm = norm,
      .x = x.data_ptr(),
      .residual = dataOf(added),
      .y = y.data_ptr(),
  };
  tiling.launchPass(added.defined() ? "normaliseAndAdd" : "normalise", NORMALISE_BLOCKS, arguments);
  return y;
}

/** Which kernel makes g from dy: see Mask in batch_norm.cuh. */
const char* gradientSumsKernel(bool relu, bool residual) {
  if (!relu) return "gradientSums";
  return residual ? "gradientSumsByOutput" : "gradientSumsAgain";
}

LossArguments lossArguments(const at::Tensor& logits, const Batch& batch, float* losses, float* hits) {
  LossArguments arguments = {};
  arguments.logits = logits.data_ptr();
  arguments.samples = batch.size;
  arguments.classes = logits.size(1);
  arguments.labels = batch.labels;
  arguments.indices = batch.indices;
  arguments.losses = losses;
  arguments.hits = hits;
  return arguments;
}

void launchLoss(const at::Tensor& logits, const LossArguments& arguments) {
  if (arguments.samples == 0) return;
  launch(named("crossEntropy", logits.scalar_type()).c_str(), gridOf(ceilDivide(arguments.samples, LOSS_SAMPLES)),
         32 * LOSS_SAMPLES, arguments);
}

}  // namespace

at::Tensor assemble(const Batch& batch, const at::Tensor& table, at::ScalarType type) {
  auto images = at::empty({batch.size, IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE}, table.options().dtype(type),
                          at::MemoryFormat::ChannelsLast);
  if (batch.size == 0) return images;
  TORCH_CHECK(isAligned(batch.images), "expected images at a multiple of ", VECTOR_BYTES, " bytes");
  const AssemblyArguments arguments = {
      .images = batch.images,
      .indices = batch.indices,
      .top = batch.top,
      .left = batch.left,
      .flip = batch.flip,
      .table = floats(table),
      .target = images.data_ptr(),
  };
  launch(named("assemble", type).c_str(), gridOf(batch.size), THREADS, arguments);
  return images;
}

bool batchNormServes(const at::Tensor& x) {
  const auto type = x.scalar_type();
  return x.is_cuda() && (type == at::kFloat || type == at::kBFloat16) &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor normalise(const Step& step, const at::Tensor& x, const at::Tensor& residual, const Vectors& vectors,
                     Saved& saved) {
  const auto options = vectors.parameters.options();
  saved.mean = at::empty({x.size(1)}, options);
  saved.inverseDeviation = at::empty({x.size(1)}, options);
  const auto own = ownSums(x, vectors);
  if (x.numel() > 0) {
    const Tiling tiling({x});
    const auto grid = tiling.grid(SUM_THREADS, MOMENTS_BLOCKS, MOST_ROWS);
    const Workspace workspace(tiling, grid, vectors);
    const MomentsArguments arguments = {
        .map = tiling.map,
        .x = x.data_ptr(),
        .partial = workspace.partial.data_ptr<double>(),
        .counters = workspace.counters.data_ptr<int32_t>(),
        .statistics = statisticsOf(step, vectors, saved),
        .own = doubles(own),
    };
    tiling.launchSums("moments", grid, arguments);
  }
  if (own.defined()) keepAllMoments(step, vectors, vectors.allGather(own), saved);
  return apply(normOf(step, vectors, saved), x, residual);
}

at::Tensor normaliseAgain(const Step& step, const at::Tensor& x, const Vectors& vectors, const Saved& saved) {
  return apply(normOf(step, vectors, saved), x, {});
}

at::Tensor normaliseWithRunning(const Step& step, const at::Tensor& x, const at::Tensor& residual,
                                const Vectors& vectors) {
  const auto channels = x.size(1);
  const auto statistics = at::empty({2, channels}, vectors.parameters.options());
  const RunningArguments arguments = {
      .channels = static_cast<int32_t>(channels),
      .epsilon = step.epsilon,
      .runningMean = runningMean(step, vectors),
      .runningVariance = runningVariance(step, vectors),
      .mean = floats(statistics),
      .inverseDeviation = floats(statistics) + channels,
  };
  launchChannels("runningStatistics", arguments);
  return apply(normOf(step, vectors, arguments.mean, arguments.inverseDeviation), x, residual);
}

at::Tensor normaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& y, at::Tensor& dy, double factor,
                             const Vectors& vectors, const Saved& saved) {
  const auto residual = step.inputs.size() > 1;
  const auto writesPassed = residual && step.relu;
  const auto own = ownSums(x, vectors);
  if (x.numel() == 0) {
    if (own.defined()) vectors.allGather(own);
    return at::empty_like(x);
  }
  TORCH_CHECK(!writesPassed || y.defined(), step.name, ": expected the output of a step with a residual");
  dy = channelsLast(dy);
  TORCH_CHECK(dy.scalar_type() == x.scalar_type(), step.name, ": expected a gradient of type ", x.scalar_type(),
              ", got ", dy.scalar_type());

  // Others may still read dy, unless this is its last reader.
  const auto sole = isSole(dy);
  const auto passed = !writesPassed || sole ? dy : at::empty_like(dy);
  const auto output = writesPassed ? channelsLast(y) : at::Tensor();
  const auto norm = normOf(step, vectors, saved);
  const Tiling tiling({x, output, dy, passed}, {norm.gamma, norm.beta});
  const auto grid = tiling.grid(SUM_THREADS, GRADIENT_SUMS_BLOCKS, MOST_ROWS);
  const Workspace workspace(tiling, grid, vectors);
  const auto coefficients = at::empty({3, x.size(1)}, vectors.parameters.options());
  const GradientSumsArguments sums = {
      .map = tiling.map,
      .norm = norm,
      .x = x.data_ptr(),
      .y = dataOf(output),
      .dy = dy.data_ptr(),
      .passed = passed.data_ptr(),
      .partial = workspace.partial.data_ptr<double>(),
      .counters = workspace.counters.data_ptr<int32_t>(),
      .factor = factor,
      .gammaGradient = floats(vectors.gradient) + step.weight->offset,
      .betaGradient = floats(vectors.gradient) + step.bias->offset,
      .accumulates = vectors.accumulates,
      .coefficients = floats(coefficients),
      .own = doubles(own),
  };
  tiling.launchSums(gradientSumsKernel(step.relu, residual), grid, sums);
  if (own.defined()) writeCoefficients(norm, factor, vectors.allGather(own), coefficients);

  auto dx = !residual && sole ? dy : at::empty_like(x);
  const InputGradientArguments input = {
      .map = tiling.map,
      .norm = norm,
      .x = x.data_ptr(),
      .dy = passed.data_ptr(),
      .coefficients = floats(coefficients),
      .dx = dx.data_ptr(),
  };
  const Tiling pass({x, passed, dx}, {norm.gamma, norm.beta});
  pass.launchPass(step.relu && !residual ? "inputGradientAgain" : "inputGradient", INPUT_GRADIENT_BLOCKS, input);
  dy = passed;
  return dx;
}

at::Tensor softmaxCrossEntropy(const at::Tensor& logits, const Batch& batch, const LossOptions& options, float* losses,
                               float* hits) {
  const auto rows = logits.contiguous();
  auto gradient = at::empty_like(rows);
  auto arguments = lossArguments(rows, batch, losses, hits);
  arguments.weight = static_cast<float>(options.weight);
  arguments.smoothing = static_cast<float>(options.smoothing);
  arguments.gradient = gradient.data_ptr();
  launchLoss(rows, arguments);
  return gradient;
}

void classify(const at::Tensor& logits, const Batch& batch, float* losses, float* hits, int32_t* predictions) {
  const auto rows = logits.contiguous();
  auto arguments = lossArguments(rows, batch, losses, hits);
  arguments.predictions = predictions;
  launchLoss(rows, arguments);
}

void squaredNorms(const float* vector, const Chunks& chunks, double* norms) {
  if (chunks.tensors == 0) return;
  TORCH_CHECK(isAligned(vector), "expected a vector at a multiple of ", VECTOR_BYTES, " bytes");
  if (chunks.count > 0) {
    launch("chunkNorms", gridOf(chunks.count), THREADS, ChunkNormsArguments{vector, chunks.chunks, chunks.partial});
  }
  launch("tensorNorms", gridOf(chunks.tensors), 32, TensorNormsArguments{chunks.firsts, chunks.partial, norms});
}

void checkFinite(const float* vector, int64_t length, int32_t* nonFinite) {
  if (length == 0) return;
  constexpr int64_t NUMBERS_A_BLOCK = 16 * THREADS;
  const auto blocks = std::min(ceilDivide(length, NUMBERS_A_BLOCK), residentBlocks(8));
  launch("checkFinite", gridOf(blocks), THREADS, FiniteArguments{vector, length, nonFinite});
}

void computeScales(const StepInput* input, const TensorFactors* factors, const ScaleOptions& options,
                   const double* gradientNorms, const double* weightNorms, int tensors, TensorScales* scales) {
  const ScalesArguments arguments = {
      .input = input,
      .factors = factors,
      .options = options,
      .gradientNorms = gradientNorms,
      .weightNorms = weightNorms,
      .tensors = tensors,
      .scales = scales,
  };
  launch("tensorScales", {1}, THREADS, arguments);
}

void updateParameters(const UpdateArguments& arguments, const Chunks& chunks, const StepInput* input,
                      const TensorScales* scales, const int32_t* nonFinite) {
  if (chunks.count == 0) return;
  const void* vectors[] = {arguments.weights, arguments.velocity, arguments.gradient,
                           arguments.S,       arguments.A,        arguments.operands};
  for (const auto* vector : vectors) {
    TORCH_CHECK(isAligned(vector), "expected vectors at a multiple of ", VECTOR_BYTES, " bytes");
  }
  launch("updateChunks", gridOf(chunks.count), THREADS,
         ChunkUpdateArguments{arguments, chunks.chunks, input, scales, nonFinite});
}

void checkLosses(const float* losses, int64_t samples, int32_t* nonFinite) { checkFinite(losses, samples, nonFinite); }

void finishStep(const float* losses, const float* hits, int64_t samples, const int32_t* nonFinite, float* statistics,
                const float* statisticsBefore, int64_t statisticsLength, StepTotals* totals) {
  const FinishArguments arguments = {
      .losses = losses,
      .hits = hits,
      .samples = samples,
      .nonFinite = nonFinite,
      .statistics = statistics,
      .statisticsBefore = statisticsBefore,
      .statisticsLength = statisticsLength,
      .totals = totals,
  };
  launch("finishStep", {1}, SUM_THREADS, arguments);
}

void directionSums(const float* S, const float* A, const Chunks& chunks, int64_t start, int64_t end, double* sums) {
  if (chunks.count == 0) return;
  launch("directionSums", gridOf(chunks.count), THREADS, DirectionArguments{S, A, chunks.chunks, start, end, sums});
}

}  // namespace cuda
