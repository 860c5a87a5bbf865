// The steps of a sweep, as src/engines/torch/plan.ts makes them from a graph.

#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

enum class Op { conv2d, batchNorm, relu, add, maxPool, averagePool, flatten, linear, softmaxCrossEntropy };

/** A tensor of a layer in the flat vectors. */
struct Parameter {
  int64_t offset;
  int64_t size;
  /** As PyTorch states it; convolutions lie in memory as O, kh, kw, I. */
  std::vector<int64_t> shape;
};

struct Step {
  Op op;
  std::string name;
  int output;
  std::vector<int> inputs;
  /** Of one sample: [height, width, channels] or [features]. */
  std::vector<int64_t> shape;
  /** -1 where it has no parameters. */
  int layer;
  std::optional<Parameter> weight;
  std::optional<Parameter> bias;
  int64_t kernel;
  int64_t stride;
  int64_t padding;
  double epsilon;
  double momentum;
  int64_t statisticsOffset;
  bool relu;
  /** Its output is freed in the forward sweep, and computed again when the backward sweep asks for it. */
  bool recomputed;
};

/** Values are freed after the step, by position, that reads them last. */
using Freed = std::vector<std::vector<int>>;

struct Plan {
  std::vector<Step> steps;
  int values;
  int64_t classes;
  int layers;
  Freed afterForward;
  Freed afterBackward;
  Freed afterEvaluation;
};

Plan readPlan(const Napi::Object& plan);

/**
 * Whether all that the steps read and write lies in vectors of these lengths and in the plan's values and layers.
 * @throws std::out_of_range that names the step.
 */
void checkPlan(const Plan& plan, int64_t parameters, int64_t gradient, int64_t statistics);
