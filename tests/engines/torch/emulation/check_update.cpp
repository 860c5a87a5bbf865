// The update of the flat vectors: the bits of the CPU's (kernels/update.h), and loops in float64.

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/kernels.h"
#include "kernels/update.h"
#include "check.h"
#include "launch.h"

namespace baseline {
extern const UpdateKernels updateKernels;
}

namespace {

constexpr int64_t ALIGNMENT = 16;

struct Tensor {
  int64_t offset;
  int64_t size;
};

/** Tensors of many sizes in a flat vector, and their chunks. */
struct Layout {
  std::vector<Tensor> tensors;
  std::vector<Chunk> chunks;
  std::vector<int32_t> firsts = {0};
  int64_t length = 0;
  std::vector<double> partial;

  Layout() {
    for (const int64_t size : {3, 4096, 1, 10001, 64, 1027, 4097}) {
      for (int64_t start = 0; start < size; start += CHUNK) {
        const auto count = static_cast<int32_t>(std::min<int64_t>(CHUNK, size - start));
        chunks.push_back({length + start, count, static_cast<int32_t>(tensors.size())});
      }
      firsts.push_back(static_cast<int32_t>(chunks.size()));
      tensors.push_back({length, size});
      length = (length + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    partial.assign(chunks.size(), NAN);
  }

  int count() const { return static_cast<int>(tensors.size()); }

  Chunks onDevice() {
    return {chunks.data(), static_cast<int>(chunks.size()), firsts.data(), count(), partial.data()};
  }
};

float* floats(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }

void checkNorms(Check& check) {
  Layout layout;
  const auto vector = at::randn({layout.length}, at::kFloat);
  const auto results = check.inAnyOrder([&] {
    const auto norms = at::empty({layout.count()}, at::kDouble);
    cuda::squaredNorms(floats(vector), layout.onDevice(), norms.data_ptr<double>());
    return std::vector{norms};
  });
  check.launched({"chunkNorms", "tensorNorms"});
  for (int i = 0; i < layout.count(); i++) {
    const auto [offset, size] = layout.tensors[i];
    double want = 0;
    for (auto k = offset; k < offset + size; k++) want += std::pow(static_cast<double>(floats(vector)[k]), 2);
    check.close("norm", results[0][i], at::full({}, want, at::kDouble), 1e-13);
  }
}

/** `start`: where the numbers begin behind an address that is a multiple of 16 bytes. */
bool findsNonFinite(Check& check, const at::Tensor& vector, int64_t start) {
  const auto results = check.inAnyOrder([&] {
    const auto flag = at::zeros({1}, at::kInt);
    cuda::checkFinite(floats(vector) + start, vector.numel() - start, flag.data_ptr<int32_t>());
    return std::vector{flag};
  });
  return results[0].data_ptr<int32_t>()[0] == 1;
}

/** Every place of short vectors; of a long one, over which the grid goes twice, some of each round and of the end. */
void checkNonFinite(Check& check, float value) {
  emulation::setMultiprocessorCount(1);
  constexpr int64_t GRID_THREADS = 8 * 256;
  const auto vector = [](int64_t length) { return at::full({length}, std::numeric_limits<float>::max(), at::kFloat); };
  for (const int64_t start : {0, 1}) {
    for (const int64_t length : {1, 4, 7, 39}) {
      check.holds("finite", !findsNonFinite(check, vector(start + length), start));
      for (int64_t i = 0; i < length; i++) {
        auto numbers = vector(start + length);
        floats(numbers)[start + i] = value;
        check.holds("found at " + std::to_string(i), findsNonFinite(check, numbers, start));
      }
    }
    constexpr int64_t ROUND = 4 * GRID_THREADS;
    constexpr int64_t length = 2 * ROUND + 7;
    for (const int64_t i : {int64_t{0}, int64_t{3}, ROUND - 1, ROUND, length - 8, length - 7, length - 1}) {
      auto numbers = vector(start + length);
      floats(numbers)[start + i] = value;
      check.holds("found at " + std::to_string(i), findsNonFinite(check, numbers, start));
    }
  }
}

struct Rules {
  double clipNorm;
  double trust;
};

/** localRates of src/training/lars.ts and clipFactor of src/training/update.ts. */
void checkScales(Check& check, const Rules& rules) {
  constexpr int COUNT = 300;
  const ScaleOptions options = {5e-4, rules.clipNorm, rules.trust, 1e-8};
  const StepInput input = {0.37, 0, 0};
  const auto clips = rules.clipNorm > 0;
  const auto adapts = rules.trust > 0;
  auto gradientNorms = at::rand({COUNT}, at::kDouble);
  auto weightNorms = at::rand({COUNT}, at::kDouble);
  auto* gradients = gradientNorms.data_ptr<double>();
  auto* weights = weightNorms.data_ptr<double>();
  gradients[7] = 0;
  weights[6] = 0;
  std::vector<TensorFactors> factors;
  for (int i = 0; i < COUNT; i++) factors.push_back({i % 4 == 0 ? 1.7 : 1, i % 3 == 0 ? 0.6 : 1, i % 5 != 0, 0});
  const auto results = check.inAnyOrder([&] {
    const auto scales = at::empty({COUNT, 4}, at::kFloat);
    auto* target = reinterpret_cast<TensorScales*>(floats(scales));
    // What is not asked for need not be there.
    cuda::computeScales(&input, factors.data(), options, clips || adapts ? gradients : nullptr,
                        adapts ? weights : nullptr, COUNT, target);
    return std::vector{scales.narrow(1, 0, 3)};
  });
  check.launched({"tensorScales"});
  double squaredNorm = 0;
  for (int i = 0; i < COUNT; i++) squaredNorm += gradients[i];
  const auto clip = clips ? std::min(1.0, rules.clipNorm / (std::sqrt(squaredNorm) + 1e-6)) : 1;
  const auto want = at::empty({COUNT, 3}, at::kFloat);
  for (int i = 0; i < COUNT; i++) {
    const auto weight = std::sqrt(weights[i]);
    const auto gradient = clip * std::sqrt(gradients[i]);
    const auto adaptive = adapts && factors[i].adaptive && weight > 0 && gradient > 0;
    const auto local =
        adaptive ? rules.trust * weight / (gradient + options.weightDecay * weight + options.epsilon) : 1;
    floats(want)[3 * i] = static_cast<float>(local * clip * factors[i].gradientFactor);
    floats(want)[3 * i + 1] = static_cast<float>(local * options.weightDecay);
    floats(want)[3 * i + 2] = static_cast<float>(input.learningRate * factors[i].rateFactor);
  }
  check.same("scales", results[0], want);
}

/** The flat vectors of a worker. */
struct Flat {
  at::Tensor weights, velocity, gradient, S, A, operands;

  explicit Flat(int64_t length)
      : weights(at::randn({length}, at::kFloat)),
        velocity(at::randn({length}, at::kFloat)),
        gradient(at::randn({length}, at::kFloat)),
        S(at::randn({length}, at::kFloat)),
        A(at::rand({length}, at::kFloat)),
        operands(at::zeros({length}, at::kBFloat16)) {}

  Flat copy() const {
    auto flat = *this;
    for (auto* vector : {&flat.weights, &flat.velocity, &flat.S, &flat.A, &flat.operands}) *vector = vector->clone();
    return flat;
  }

  std::vector<at::Tensor> written() const { return {weights, velocity, S, A, operands}; }
};

struct Form {
  bool nesterov = false;
  /** There are S and A, and the step adds to them. */
  bool analysed = false;
  /** There are none, whatever the step is told. */
  bool never = false;
  /** Bfloat16 copies of the weights are written too. */
  bool copies = false;
  bool skipped = false;
};

constexpr float MOMENTUM = 0.9f;
constexpr float MEASURED_DECAY = 3e-4f;

/** kernels/update.cpp, tensor by tensor; S and A within the shard. */
void updateOnCpu(const Layout& layout, const std::vector<TensorScales>& scales, const Form& form, int64_t shardStart,
                 int64_t shardEnd, Flat& flat) {
  const auto run = [&](int64_t start, int64_t end, const TensorScales& scale, bool measured) {
    if (start >= end) return;
    const float* gradients[] = {floats(flat.gradient)};
    const UpdateVectors vectors = {floats(flat.weights), floats(flat.velocity), gradients, 1,
                                   measured ? floats(flat.S) : nullptr, measured ? floats(flat.A) : nullptr};
    baseline::updateKernels.update(vectors, {start, end, scale.gradientFactor, scale.decay, scale.rate, MOMENTUM,
                                             form.nesterov, MEASURED_DECAY});
  };
  for (int i = 0; i < layout.count(); i++) {
    const auto [offset, size] = layout.tensors[i];
    const auto end = offset + size;
    const auto from = std::clamp(shardStart, offset, end);
    const auto to = std::clamp(shardEnd, from, end);
    run(offset, from, scales[i], false);
    run(from, to, scales[i], form.analysed);
    run(to, end, scales[i], false);
    if (form.copies) flat.operands.narrow(0, offset, size).copy_(flat.weights.narrow(0, offset, size));
  }
}

void checkUpdate(Check& check, const Form& form) {
  Layout layout;
  const Flat flat(layout.length);
  // Both in the middle of a tensor.
  const auto shardStart = layout.tensors[1].offset + 32;
  const auto shardEnd = layout.tensors[3].offset + 5008;
  const StepInput input = {0.1, form.analysed || form.never, 0};
  const int32_t nonFinite = form.skipped;
  std::vector<TensorScales> scales;
  for (int i = 0; i < layout.count(); i++) {
    const auto k = static_cast<float>(i);
    scales.push_back({1 + 0.3f * k, 1e-4f * (1 + k), 0.05f + 0.01f * k, 0});
  }
  const auto results = check.inAnyOrder([&] {
    const auto copy = flat.copy();
    UpdateArguments arguments = {};
    arguments.weights = floats(copy.weights);
    arguments.velocity = floats(copy.velocity);
    arguments.gradient = floats(copy.gradient);
    arguments.S = form.never ? nullptr : floats(copy.S);
    arguments.A = form.never ? nullptr : floats(copy.A);
    arguments.operands = form.copies ? static_cast<uint16_t*>(copy.operands.data_ptr()) : nullptr;
    arguments.shardStart = shardStart;
    arguments.shardEnd = shardEnd;
    arguments.momentum = MOMENTUM;
    arguments.measuredDecay = MEASURED_DECAY;
    arguments.nesterov = form.nesterov;
    cuda::updateParameters(arguments, layout.onDevice(), &input, scales.data(), &nonFinite);
    return copy.written();
  });
  check.launched({"updateChunks"});
  auto want = flat.copy();
  if (!form.skipped) updateOnCpu(layout, scales, form, shardStart, shardEnd, want);
  const char* names[] = {"weights", "velocity", "S", "A", "operands"};
  for (size_t i = 0; i < results.size(); i++) check.same(names[i], results[i], want.written()[i]);
}

/** src/amplification/directionality.ts, by chunk. */
void checkDirections(Check& check) {
  Layout layout;
  const Flat flat(layout.length);
  for (int64_t i = 0; i < layout.length; i += 3) floats(flat.A)[i] = 0;
  const auto start = layout.tensors[1].offset + 37;
  const auto end = layout.tensors[5].offset + 11;
  const auto count = static_cast<int64_t>(layout.chunks.size());
  const auto results = check.inAnyOrder([&] {
    const auto sums = at::empty({count, 4}, at::kDouble);
    cuda::directionSums(floats(flat.S), floats(flat.A), layout.onDevice(), start, end, sums.data_ptr<double>());
    return std::vector{sums};
  });
  check.launched({"directionSums"});
  for (int64_t chunk = 0; chunk < count; chunk++) {
    const auto want = at::zeros({4}, at::kDouble);
    auto* sums = want.data_ptr<double>();
    for (int32_t k = 0; k < layout.chunks[chunk].size; k++) {
      const auto i = layout.chunks[chunk].start + k;
      if (i < start || i >= end) continue;
      const double s = std::abs(floats(flat.S)[i]);
      const double a = floats(flat.A)[i];
      sums[0] += s;
      sums[1] += a;
      if (a != 0) sums[2] += s / a;
      sums[3] += a != 0;
    }
    for (int k = 0; k < 4; k++) check.close("sum", results[0][chunk][k], want[k], 1e-12);
  }
}

}  // namespace

void checkUpdate() {
  emulation::setMultiprocessorCount(2);
  check("squared norms", checkNorms);
  for (const auto value : {NAN, INFINITY, -INFINITY}) {
    check("what is not finite: " + std::to_string(value), [&](Check& check) { checkNonFinite(check, value); });
  }
  check("scales", [](Check& check) { checkScales(check, {0, 0}); });
  check("scales, clipped", [](Check& check) { checkScales(check, {1, 0}); });
  check("scales, too small to be clipped", [](Check& check) { checkScales(check, {1e3, 0}); });
  check("scales, LARS", [](Check& check) { checkScales(check, {0, 0.02}); });
  check("scales, LARS, clipped", [](Check& check) { checkScales(check, {2, 0.02}); });
  check("update", [](Check& check) { checkUpdate(check, {}); });
  check("update, Nesterov, bfloat16 copies",
        [](Check& check) { checkUpdate(check, {.nesterov = true, .never = true, .copies = true}); });
  check("update, analysed", [](Check& check) { checkUpdate(check, {.analysed = true}); });
  check("update, analysed, Nesterov, bfloat16 copies",
        [](Check& check) { checkUpdate(check, {.nesterov = true, .analysed = true, .copies = true}); });
  check("update, skipped", [](Check& check) { checkUpdate(check, {.analysed = true, .copies = true, .skipped = true}); });
  check("directions", checkDirections);
}
