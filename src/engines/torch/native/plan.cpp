#include "plan.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <stdexcept>

#include "batch.h"

namespace {

using Shape = std::vector<int64_t>;

const std::map<std::string, Op> OPERATIONS = {
    {"conv2d", Op::conv2d},
    {"batchNorm", Op::batchNorm},
    {"relu", Op::relu},
    {"add", Op::add},
    {"maxPool", Op::maxPool},
    {"averagePool", Op::averagePool},
    {"flatten", Op::flatten},
    {"linear", Op::linear},
    {"softmaxCrossEntropy", Op::softmaxCrossEntropy},
};

template <typename T>
std::vector<T> numbers(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<T> result;
  for (uint32_t i = 0; i < array.Length(); i++) {
    result.push_back(static_cast<T>(array.Get(i).As<Napi::Number>().Int64Value()));
  }
  return result;
}

double numberOr(const Napi::Object& object, const char* key, double fallback) {
  const auto value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : fallback;
}

int64_t integerOr(const Napi::Object& object, const char* key, int64_t fallback) {
  return static_cast<int64_t>(numberOr(object, key, static_cast<double>(fallback)));
}

std::optional<Parameter> parameter(const Napi::Object& step, const char* key) {
  const auto value = step.Get(key);
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  return Parameter{integerOr(object, "offset", 0), integerOr(object, "size", 0),
                   numbers<int64_t>(object.Get("shape"))};
}

Op readOperation(const std::string& name) {
  const auto found = OPERATIONS.find(name);
  if (found == OPERATIONS.end()) throw std::out_of_range("plan: expected an operation, got " + name);
  return found->second;
}

Step readStep(const Napi::Object& step) {
  return {
      .op = readOperation(step.Get("op").As<Napi::String>()),
      .name = step.Get("name").As<Napi::String>(),
      .output = static_cast<int>(integerOr(step, "output", 0)),
      .inputs = numbers<int>(step.Get("inputs")),
      .shape = numbers<int64_t>(step.Get("shape")),
      .layer = static_cast<int>(integerOr(step, "layer", -1)),
      .weight = parameter(step, "weight"),
      .bias = parameter(step, "bias"),
      .kernel = integerOr(step, "kernel", 1),
      .stride = integerOr(step, "stride", 1),
      .padding = integerOr(step, "padding", 0),
      .epsilon = numberOr(step, "epsilon", 0),
      .momentum = numberOr(step, "momentum", 0),
      .statisticsOffset = integerOr(step, "statisticsOffset", 0),
      .relu = step.Get("relu").ToBoolean(),
      .recomputed = step.Get("recomputed").ToBoolean(),
  };
}

/**
 * The shape of a step's output for one sample, from those of its inputs; empty where step, inputs and parameters do not
 * fit each other.
 */
Shape outputShape(const Step& step, const Shape& x, const Shape& other) {
  const auto isMap = x.size() == 3;
  const auto extent = [&](int64_t size) { return (size + 2 * step.padding - step.kernel) / step.stride + 1; };
  const auto windowsFit = isMap && step.kernel >= 1 && step.stride >= 1 && step.padding >= 0 &&
                          std::min(x[0], x[1]) + 2 * step.padding >= step.kernel;
  const auto has = [](const std::optional<Parameter>& parameter, const Shape& shape) {
    return !parameter || parameter->shape == shape;
  };
  switch (step.op) {
    case Op::conv2d: {
      const auto filters = step.weight->shape[0];
      if (!windowsFit || !has(step.weight, {filters, x[2], step.kernel, step.kernel}) || !has(step.bias, {filters})) return {};
      return {extent(x[0]), extent(x[1]), filters};
    }
    case Op::maxPool:
    case Op::averagePool:
      return windowsFit && step.padding == 0 ? Shape{extent(x[0]), extent(x[1]), x[2]} : Shape{};
    case Op::batchNorm:
      if (!isMap || !has(step.weight, {x[2]}) || !has(step.bias, {x[2]})) return {};
      return step.inputs.size() == 1 || other == x ? x : Shape{};
    case Op::linear: {
      const auto features = step.weight->shape[0];
      if (x.size() != 1 || !has(step.weight, {features, x[0]}) || !has(step.bias, {features})) return {};
      return {features};
    }
    case Op::relu:
      return x;
    case Op::add:
      return other == x ? x : Shape{};
    case Op::flatten:
      return isMap && x[0] == 1 && x[1] == 1 ? Shape{x[2]} : Shape{};
    case Op::softmaxCrossEntropy:
      break;
  }
  return {};
}

Freed readFreed(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  Freed freed;
  for (uint32_t i = 0; i < array.Length(); i++) freed.push_back(numbers<int>(array.Get(i)));
  return freed;
}

}  // namespace

Plan readPlan(const Napi::Object& plan) {
  std::vector<Step> steps;
  const auto array = plan.Get("steps").As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) steps.push_back(readStep(array.Get(i).As<Napi::Object>()));
  return {
      .steps = std::move(steps),
      .values = static_cast<int>(integerOr(plan, "values", 0)),
      .classes = integerOr(plan, "classes", 0),
      .layers = static_cast<int>(integerOr(plan, "layers", 0)),
      .afterForward = readFreed(plan.Get("afterForward")),
      .afterBackward = readFreed(plan.Get("afterBackward")),
      .afterEvaluation = readFreed(plan.Get("afterEvaluation")),
  };
}

void checkPlan(const Plan& plan, int64_t parameters, int64_t gradient, int64_t statistics) {
  const auto check = [](bool holds, const std::string& name, const std::string& what) {
    if (!holds) throw std::out_of_range(name + ": " + what);
  };
  const auto isValue = [&](int value) { return value >= 0 && value < plan.values; };
  check(gradient == parameters, "gradient",
        "expected " + std::to_string(parameters) + " numbers, as many as parameters, got " + std::to_string(gradient));
  check(!plan.steps.empty() && plan.steps.back().op == Op::softmaxCrossEntropy, "plan", "expected a loss at its end");
  check(plan.values > 0, "plan", "expected values");
  std::vector<Shape> shapes(plan.values);
  shapes[0] = {IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS};
  for (const auto& step : plan.steps) {
    check(!step.inputs.empty(), step.name, "expected an input, got none");
    for (const auto value : step.inputs) check(isValue(value), step.name, "expected inputs that are values of the plan");
    check(isValue(step.output), step.name, "expected an output that is a value of the plan");
    check(step.layer < plan.layers, step.name, "expected a layer of the plan");
    const auto owns = step.op == Op::conv2d || step.op == Op::batchNorm || step.op == Op::linear;
    check(!owns || step.weight, step.name, "expected a weight, got none");
    check((step.op != Op::batchNorm && step.op != Op::linear) || step.bias, step.name, "expected a bias, got none");
    for (const auto* parameter : {&step.weight, &step.bias}) {
      if (!*parameter) continue;
      const auto& [offset, size, shape] = **parameter;
      const auto product = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
      check(!shape.empty() && product == size && size > 0, step.name, "expected parameters of the size of their shape");
      check(offset >= 0 && offset + size <= parameters, step.name,
            "expected parameters that lie in the vector of " + std::to_string(parameters));
    }
    if (step.op == Op::batchNorm) {
      check(step.statisticsOffset >= 0 && step.statisticsOffset + 2 * step.weight->size <= statistics, step.name,
            "expected statistics that lie in the vector of " + std::to_string(statistics));
    }
    // What comes behind reads and writes memory by these shapes.
    const auto& x = shapes[step.inputs[0]];
    const auto other = step.inputs.size() > 1 ? shapes[step.inputs[1]] : Shape{};
    if (&step == &plan.steps.back()) {
      check(x == Shape{plan.classes}, step.name, "expected a logit for each class of the plan");
    } else {
      const auto output = outputShape(step, x, other);
      check(!x.empty() && !output.empty() && output == step.shape, step.name,
            "expected inputs and parameters that make an output of its shape");
      shapes[step.output] = output;
    }
  }
  for (const auto* freed : {&plan.afterForward, &plan.afterBackward, &plan.afterEvaluation}) {
    check(freed->size() == plan.steps.size(), "plan", "expected what is freed after each step");
    for (const auto& values : *freed) {
      for (const auto value : values) check(isValue(value), "plan", "expected to free values of the plan");
    }
  }
}
