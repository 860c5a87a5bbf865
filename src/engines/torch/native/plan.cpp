#include "plan.h"

#include <map>

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
