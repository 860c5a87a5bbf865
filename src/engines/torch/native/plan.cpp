#include "plan.h"

#include <functional>
#include <map>
#include <numeric>
#include <stdexcept>

namespace {

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

Step readStep(const Napi::Object& step) {
  return {
      .op = OPERATIONS.at(step.Get("op").As<Napi::String>()),
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
      check(product == size && size > 0, step.name, "expected parameters of the size of their shape");
      check(offset >= 0 && offset + size <= parameters, step.name,
            "expected parameters that lie in the vector of " + std::to_string(parameters));
    }
    if (step.op == Op::batchNorm) {
      check(step.statisticsOffset >= 0 && step.statisticsOffset + 2 * step.weight->size <= statistics, step.name,
            "expected statistics that lie in the vector of " + std::to_string(statistics));
    }
  }
  for (const auto* freed : {&plan.afterForward, &plan.afterBackward, &plan.afterEvaluation}) {
    check(freed->size() == plan.steps.size(), "plan", "expected what is freed after each step");
    for (const auto& values : *freed) {
      for (const auto value : values) check(isValue(value), "plan", "expected to free values of the plan");
    }
  }
}
