// The fused update of a shard, for JavaScript; it runs on the calling thread alone.

#include <cmath>
#include <vector>

#include "arguments.h"
#include "exports.h"
#include "instruction_set.h"
#include "kernels/kernels.h"

namespace {

/** Numbers of a run in JavaScript: start, end, and what gradient, weight and step are multiplied by. */
constexpr size_t RUN_NUMBERS = 5;

struct Range {
  int64_t start;
  int64_t end;
};

/** @throws RangeError unless start..end are positions in vectors of `length`. */
Range checkedRange(Napi::Env env, const std::string& name, double start, double end, size_t length) {
  const auto isPosition = [](double x) { return x >= 0 && x == std::floor(x); };
  if (!isPosition(start) || !isPosition(end) || start > end || end > static_cast<double>(length)) {
    const auto text = [&](double x) { return Napi::Number::New(env, x).ToString().Utf8Value(); };
    throw rangeError(env, name, "whole numbers 0 <= start <= end <= " + std::to_string(length),
                     text(start) + " to " + text(end));
  }
  return {static_cast<int64_t>(start), static_cast<int64_t>(end)};
}

/** Vectors that are added up: as many numbers in each. */
struct Parts {
  std::vector<const float*> pointers;
  size_t length;
};

Parts partsArgument(const Napi::Value& value, const std::string& name) {
  const auto array = arrayArgument(value, name);
  if (array.Length() == 0) throw rangeError(value.Env(), name, "at least one vector", "none");
  const auto nameAt = [&](uint32_t i) { return name + "[" + std::to_string(i) + "]"; };
  Parts parts;
  parts.length = numbersArgument<float>(array.Get(0u), nameAt(0)).size();
  for (uint32_t i = 0; i < array.Length(); i++) {
    parts.pointers.push_back(numbersArgument<float>(array.Get(i), nameAt(i), parts.length).data());
  }
  return parts;
}

/** The pieces of an update. All of it is checked before anything is written. */
struct Update {
  Parts gradients;
  UpdateVectors vectors;
  std::vector<UpdateRun> runs;
};

Update updateArgument(const Napi::Value& value) {
  const auto object = objectArgument(value, "update");
  Update update;
  update.gradients = partsArgument(object.Get("gradients"), "gradients");
  const auto length = update.gradients.length;
  const auto vector = [&](const char* name) { return numbersArgument<float>(object.Get(name), name, length).data(); };
  const bool accumulates = !object.Get("S").IsUndefined() || !object.Get("A").IsUndefined();
  update.vectors = {
      .weights = vector("weights"),
      .velocity = vector("velocity"),
      .gradients = update.gradients.pointers.data(),
      .workers = static_cast<int>(update.gradients.pointers.size()),
      .S = accumulates ? vector("S") : nullptr,
      .A = accumulates ? vector("A") : nullptr,
  };

  const auto number = [&](const char* name) {
    return static_cast<float>(numberArgument(object.Get(name), name));
  };
  const float momentum = number("momentum");
  const float measuredDecay = number("measuredDecay");
  const bool nesterov = booleanArgument(object.Get("nesterov"), "nesterov");
  const auto runs = numbersArgument<double>(object.Get("runs"), "runs");
  if (runs.size() % RUN_NUMBERS != 0) {
    throw rangeError(value.Env(), "runs", "five numbers for each", std::to_string(runs.size()) + " numbers");
  }
  for (size_t i = 0; i < runs.size(); i += RUN_NUMBERS) {
    const auto name = "runs[" + std::to_string(i / RUN_NUMBERS) + "]";
    const auto [start, end] = checkedRange(value.Env(), name, runs[i], runs[i + 1], length);
    update.runs.push_back({
        .start = start,
        .end = end,
        .gradientFactor = static_cast<float>(runs[i + 2]),
        .decay = static_cast<float>(runs[i + 3]),
        .rate = static_cast<float>(runs[i + 4]),
        .momentum = momentum,
        .nesterov = nesterov,
        .measuredDecay = measuredDecay,
    });
  }
  return update;
}

void update(const Napi::CallbackInfo& info) {
  const auto update = updateArgument(info[0]);
  for (const auto& run : update.runs) kernels().update->update(update.vectors, run);
}

void touch(const Napi::CallbackInfo& info) {
  const auto update = updateArgument(info[0]);
  for (const auto& run : update.runs) kernels().update->touch(update.vectors, run);
}

void squaredNorms(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto parts = partsArgument(info[0], "parts");
  const auto ranges = numbersArgument<double>(info[1], "ranges");
  if (ranges.size() % 2 != 0) {
    throw rangeError(env, "ranges", "two numbers for each", std::to_string(ranges.size()) + " numbers");
  }
  const auto norms = numbersArgument<double>(info[2], "norms", ranges.size() / 2);
  std::vector<Range> checked;
  for (size_t i = 0; i < norms.size(); i++) {
    const auto name = "ranges[" + std::to_string(i) + "]";
    checked.push_back(checkedRange(env, name, ranges[2 * i], ranges[2 * i + 1], parts.length));
  }
  for (size_t i = 0; i < norms.size(); i++) {
    norms[i] = kernels().update->squaredNorm(parts.pointers.data(), static_cast<int>(parts.pointers.size()), checked[i].start,
                                     checked[i].end);
  }
}

Napi::Value allFinite(const Napi::CallbackInfo& info) {
  const auto vector = numbersArgument<float>(info[0], "vector");
  return Napi::Boolean::New(info.Env(), kernels().update->allFinite(vector.data(), static_cast<int64_t>(vector.size())));
}

}  // namespace

void exportUpdate(Napi::Env env, Napi::Object exports) {
  exports["update"] = Napi::Function::New(env, update, "update");
  exports["touch"] = Napi::Function::New(env, touch, "touch");
  exports["squaredNorms"] = Napi::Function::New(env, squaredNorms, "squaredNorms");
  exports["allFinite"] = Napi::Function::New(env, allFinite, "allFinite");
}
