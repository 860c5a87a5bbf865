// Batch norm over the maps of several workers against ATen's in float64, of one map that holds all of theirs.

#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "cuda/kernels.h"
#include "operations.h"
#include "check.h"
#include "launch.h"
#include "layer.h"
#include "workers.h"

namespace {

constexpr double TOLERANCE = 1e-5;
constexpr double FACTOR = 0.75;

struct Form {
  /** By rank. */
  std::vector<int64_t> samples;
  int64_t channels;
  int64_t size;
  double mean = 0;
};

/** Up to more channels than a block of the kernels of all workers has threads. */
const std::vector<Form> FORMS = {
    {{6}, 16, 4},           {{5, 3}, 64, 5, 50}, {{0, 7}, 24, 3},        {{2, 0}, 5, 4},
    {{4, 1, 9}, 65, 6, -3}, {{3, 0, 8}, 8, 9},   {{40, 12, 25}, 100, 8}, {{1, 3, 0, 1}, 3, 1},
    {{5, 2}, 1, 4},      {{3, 0, 2}, 520, 3},
};

/** What a worker computes. */
struct Result {
  at::Tensor y;
  at::Tensor dx;
  /** What its dy has become. */
  at::Tensor passed;
  at::Tensor statistics;
  at::Tensor gradient;
  at::Tensor mean;
  at::Tensor inverseDeviation;

  std::vector<at::Tensor> tensors() const { return {y, dx, passed, statistics, gradient, mean, inverseDeviation}; }
};

/** By rank: parts of one map. */
std::vector<at::Tensor> split(const at::Tensor& map, const Form& form) {
  const auto parts = map.split_with_sizes(form.samples);
  std::vector<at::Tensor> copies;
  for (const auto& part : parts) copies.push_back(part.contiguous(at::MemoryFormat::ChannelsLast));
  return copies;
}

struct Maps {
  at::Tensor x;
  at::Tensor residual;
  at::Tensor dy;
};

/** Forward and backward computation by all workers, of the first pass of a step: gradients are written, not added. */
std::vector<Result> sweep(const Layer& layer, const Form& form, const Maps& maps) {
  const auto x = split(maps.x, form);
  const auto residual = split(maps.residual, form);
  const auto dy = split(maps.dy, form);
  const auto added = layer.step.inputs.size() > 1;
  const auto workers = form.samples.size();
  std::vector<Result> results(workers);
  Workers(static_cast<int>(workers)).run([&](int rank, const AllGather& allGather) {
    auto vectors = layer.copy();
    vectors.allGather = allGather;
    vectors.accumulates = false;
    Saved saved;
    const auto more = added ? residual[rank] : at::Tensor();
    const auto y = cuda::normalise(layer.step, x[rank], more, vectors, saved);
    auto passed = dy[rank].clone();
    const auto held = passed;
    const auto output = added ? y : at::Tensor();
    const auto dx = cuda::normaliseBackward(layer.step, x[rank], output, passed, FACTOR, vectors, saved);
    results[rank] = {y, dx, passed, vectors.statistics, vectors.gradient, saved.mean, saved.inverseDeviation};
  });
  return results;
}

std::vector<at::Tensor> flattened(const std::vector<Result>& results) {
  std::vector<at::Tensor> tensors;
  for (const auto& result : results) {
    for (const auto& tensor : result.tensors()) tensors.push_back(tensor);
  }
  return tensors;
}

at::Tensor all(const std::vector<Result>& results, at::Tensor Result::* part) {
  std::vector<at::Tensor> parts;
  for (const auto& result : results) parts.push_back(result.*part);
  return at::cat(parts);
}

/** The number of launches: of a worker with samples, and of one without. */
int64_t launchesOf(const Form& form) {
  int64_t launches = 0;
  for (const auto samples : form.samples) launches += samples > 0 ? 6 : 1;
  return launches;
}

void checkForm(Check& check, const Form& form, at::ScalarType type, bool relu, bool added) {
  const Layer layer(form.channels, relu, added);
  int64_t samples = 0;
  for (const auto part : form.samples) samples += part;
  const std::vector<int64_t> shape = {samples, form.channels, form.size, form.size};
  const Maps maps = {randomMap(shape, type, form.mean), randomMap(shape, type), randomMap(shape, type)};
  std::vector<Result> results;
  check.inAnyOrder([&] {
    results = sweep(layer, form, maps);
    return flattened(results);
  });
  check.holds("number of launches", static_cast<int64_t>(emulation::takeLaunched().size()) == launchesOf(form));

  auto reference = layer.copy(at::kDouble);
  reference.accumulates = false;
  Saved saved;
  const auto x = maps.x.to(at::kDouble);
  auto y = normalise(layer.step, x, reference, saved);
  if (added) y.add_(maps.residual);
  if (relu) y = at::relu(y);
  const auto got = all(results, &Result::y);
  check.close("y", got, y, TOLERANCE);
  for (const auto& result : results) {
    check.close("running statistics", result.statistics, reference.statistics, TOLERANCE);
    check.close("mean", result.mean, saved.mean, TOLERANCE);
    check.close("1 / deviation", result.inverseDeviation, saved.inverseDeviation, TOLERANCE);
    check.same("running statistics of all workers", result.statistics, results[0].statistics);
    check.same("mean of all workers", result.mean, results[0].mean);
    check.same("1 / deviation of all workers", result.inverseDeviation, results[0].inverseDeviation);
  }

  const auto passed = relu ? maps.dy.mul(got.gt(0)) : maps.dy;
  const auto dy = passed.to(at::kDouble).mul_(FACTOR);
  const auto dx = normaliseBackward(layer.step, x, dy, reference, saved);
  check.close("dx", all(results, &Result::dx), dx, TOLERANCE);
  check.close("what passed the ReLU", all(results, &Result::passed), added ? passed : maps.dy, 0);
  // A worker without samples writes nothing; of the others, the gradients add up.
  for (const auto* parameter : {&*layer.step.weight, &*layer.step.bias}) {
    const auto sum = at::zeros_like(viewOf(reference.gradient, *parameter));
    for (size_t rank = 0; rank < results.size(); rank++) {
      if (form.samples[rank] > 0) {
        sum.add_(viewOf(results[rank].gradient, *parameter));
      } else {
        check.same("gradient without samples", results[rank].gradient, layer.vectors.gradient);
      }
    }
    check.close("sum of the gradients", sum, viewOf(reference.gradient, *parameter), TOLERANCE);
  }
}

/** Nobody has a sample. */
void checkNone(Check& check) {
  const Layer layer(12, true, true);
  const Form form = {{0, 0}, 12, 4};
  const auto empty = randomMap({0, 12, 4, 4}, at::kFloat);
  for (const auto& result : sweep(layer, form, {empty, empty, empty})) {
    check.same("running statistics", result.statistics, layer.vectors.statistics);
    check.same("gradient", result.gradient, layer.vectors.gradient);
    check.same("y", result.y, empty);
    check.same("dx", result.dx, empty);
  }
}

}  // namespace

void checkAllGather() {
  emulation::setMultiprocessorCount(3);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const std::string suffix = type == at::kFloat ? ", float32" : ", bfloat16";
    for (const auto relu : {false, true}) {
      for (const auto added : {false, true}) {
        const auto name = std::string("batch norm of all workers") + (added ? ", addition" : "") + (relu ? ", ReLU" : "");
        check(name + suffix, [&](Check& check) {
          for (const auto& form : FORMS) checkForm(check, form, type, relu, added);
        });
      }
    }
  }
  check("batch norm of all workers, none with a sample", checkNone);
}
