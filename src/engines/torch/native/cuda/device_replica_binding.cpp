// The class DeviceReplica of the addon, checked at this border as Replica is.

#include <ATen/cuda/CUDAContext.h>

#include "../all_gather_argument.h"
#include "../arguments.h"
#include "../batch_argument.h"
#include "../errors.h"
#include "../results.h"
#include "bindings.h"
#include "device_replica.h"
#include "pinned.h"

namespace cuda {
namespace {

double numberOr(const Napi::Object& object, const char* name, double fallback) {
  const auto value = object.Get(name);
  return value.IsUndefined() ? fallback : numberArgument(value, name);
}

bool booleanOr(const Napi::Object& object, const char* name, bool fallback) {
  const auto value = object.Get(name);
  return value.IsUndefined() ? fallback : booleanArgument(value, name);
}

int64_t countArgument(const Napi::Object& object, const char* name) {
  const auto value = numberArgument(object.Get(name), name);
  if (!(value >= 0)) throw rangeError(object.Env(), name, "at least 0", object.Get(name).ToString());
  return static_cast<int64_t>(value);
}

/** Three numbers a tensor: offset, size, and whether LARS gives it a rate of its own. */
std::vector<TensorLayout> tensorsArgument(const Napi::Object& options, int64_t parameters) {
  const auto numbers = numbersArgument<double>(options.Get("tensors"), "tensors");
  if (numbers.size() % 3 != 0) {
    throw rangeError(options.Env(), "tensors", "three numbers for each", std::to_string(numbers.size()) + " numbers");
  }
  std::vector<TensorLayout> tensors;
  for (size_t i = 0; i < numbers.size(); i += 3) {
    const TensorLayout tensor{static_cast<int64_t>(numbers[i]), static_cast<int64_t>(numbers[i + 1]), numbers[i + 2] != 0};
    if (tensor.offset < 0 || tensor.size < 1 || tensor.offset % 16 != 0 || tensor.offset + tensor.size > parameters) {
      throw rangeError(options.Env(), "tensors[" + std::to_string(i / 3) + "]",
                       "a segment of the " + std::to_string(parameters) + " parameters that starts on a multiple of 16",
                       std::to_string(tensor.offset) + " + " + std::to_string(tensor.size));
    }
    tensors.push_back(tensor);
  }
  return tensors;
}

/** Three numbers a slice: step, start, end; from the end of the vector to its start. */
std::vector<Slice> slicesArgument(const Napi::Object& options, int64_t parameters) {
  const auto numbers = numbersArgument<double>(options.Get("slices"), "slices");
  std::vector<Slice> slices;
  auto rest = parameters;
  for (size_t i = 0; i + 2 < numbers.size(); i += 3) {
    const Slice slice{static_cast<int64_t>(numbers[i]), static_cast<int64_t>(numbers[i + 1]), static_cast<int64_t>(numbers[i + 2])};
    if (slice.step < 0 || (i > 0 && slice.step > slices.back().step) || slice.start < 0 || slice.start >= slice.end ||
        slice.end != rest) {
      throw rangeError(options.Env(), "slices[" + std::to_string(i / 3) + "]",
                       "a step that runs behind the last one's, and what lies in front of " + std::to_string(rest),
                       std::to_string(slice.step) + ": " + std::to_string(slice.start) + " to " + std::to_string(slice.end));
    }
    slices.push_back(slice);
    rest = slice.start;
  }
  if (rest != 0 || numbers.size() % 3 != 0) {
    throw rangeError(options.Env(), "slices", "three numbers for each, down to the start of the vector",
                     std::to_string(numbers.size()) + " numbers, down to " + std::to_string(rest));
  }
  return slices;
}

UpdateOptions updateArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return {};
  const auto update = objectArgument(value, "update");
  return {
      .momentum = numberArgument(update.Get("momentum"), "update.momentum"),
      .nesterov = booleanArgument(update.Get("nesterov"), "update.nesterov"),
      .weightDecay = numberArgument(update.Get("weightDecay"), "update.weightDecay"),
      .measureWeightDecay = booleanArgument(update.Get("measureWeightDecay"), "update.measureWeightDecay"),
      .clipNorm = numberOr(update, "clipNorm", 0),
      .trust = numberOr(update, "trust", 0),
      .epsilon = numberOr(update, "epsilon", 0),
  };
}

DeviceOptions optionsArgument(const Napi::Object& options) {
  const auto parameters = countArgument(options, "parameters");
  DeviceOptions result{
      .device = static_cast<int>(countArgument(options, "device")),
      .bfloat16 = booleanOr(options, "bfloat16", false),
      .parameters = parameters,
      .statistics = countArgument(options, "statistics"),
      .tensors = tensorsArgument(options, parameters),
      .slices = slicesArgument(options, parameters),
      .syncBatchNorm = booleanOr(options, "syncBatchNorm", false),
      .allGather = allGatherArgument(options.Get("allGather")),
      .capacity = countArgument(options, "capacity"),
      .accumulates = booleanOr(options, "accumulates", false),
      .shardStart = countArgument(options, "shardStart"),
      .shardEnd = countArgument(options, "shardEnd"),
      .update = updateArgument(options.Get("update")),
      .replica = {.labelSmoothing = numberOr(options, "labelSmoothing", 0),
                  .profiled = booleanOr(options, "profiled", false),
                  .plain = booleanOr(options, "plain", false)},
  };
  const auto isBound = [&](int64_t bound) { return bound <= parameters && (bound % 16 == 0 || bound == parameters); };
  if (result.shardStart > result.shardEnd || !isBound(result.shardStart) || !isBound(result.shardEnd)) {
    throw rangeError(options.Env(), "shardStart, shardEnd", "multiples of 16 within the parameters, or their end",
                     std::to_string(result.shardStart) + ", " + std::to_string(result.shardEnd));
  }
  if (result.device >= at::cuda::device_count()) {
    throw rangeError(options.Env(), "device", "a GPU of the " + std::to_string(at::cuda::device_count()) + " of this machine",
                     std::to_string(result.device));
  }
  return result;
}

StepMode modeArgument(const Napi::Value& value) {
  const std::string mode = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (mode == "eager") return StepMode::eager;
  if (mode == "capture") return StepMode::capture;
  if (mode == "replay") return StepMode::replay;
  if (mode == "rehearse") return StepMode::rehearse;
  throw typeError("mode", "eager, capture, replay or rehearse", value);
}

/** Undefined: none. */
std::optional<StepTotals> totalsArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return {};
  const auto totals = objectArgument(value, "totals");
  const auto count = [&](const char* name) { return numberArgument(totals.Get(name), std::string("totals.") + name); };
  return StepTotals{
      .lossSum = count("lossSum"),
      .correct = count("correct"),
      .samples = count("samples"),
      .iterations = count("iterations"),
      .skipped = count("skipped"),
      .skippedInARow = count("skippedInARow"),
  };
}

Napi::Object totalsOf(Napi::Env env, const StepTotals& totals, double waited) {
  auto object = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) { object[name] = Napi::Number::New(env, value); };
  set("lossSum", totals.lossSum);
  set("correct", totals.correct);
  set("samples", totals.samples);
  set("iterations", totals.iterations);
  set("skipped", totals.skipped);
  set("skippedInARow", totals.skippedInARow);
  set("waitedMilliseconds", waited);
  return object;
}

class DeviceReplicaObject : public Napi::ObjectWrap<DeviceReplicaObject> {
  using This = DeviceReplicaObject;

 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "DeviceReplica",
                       {
                           InstanceMethod<&This::upload>("upload"),
                           InstanceMethod<&This::download>("download"),
                           InstanceMethod<&This::join>("join"),
                           InstanceMethod<&This::abandon>("abandon"),
                           InstanceMethod<&This::forget>("forget"),
                           InstanceMethod<&This::gradient>("gradient"),
                           InstanceMethod<&This::evaluate>("evaluate"),
                           InstanceMethod<&This::begin>("begin"),
                           InstanceMethod<&This::step>("step"),
                           InstanceMethod<&This::totals>("totals"),
                           InstanceMethod<&This::measure>("measure"),
                           InstanceMethod<&This::timings>("timings"),
                           InstanceMethod<&This::memory>("memory"),
                           InstanceMethod<&This::dispose>("dispose"),
                       });
  }

  explicit DeviceReplicaObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceReplicaObject>(info) {
    const auto object = objectArgument(info[0], "options");
    auto options = optionsArgument(object);
    const auto normalisation = normalisationArgument(object, "options");
    parameters_ = options.parameters;
    statistics_ = options.statistics;
    tensors_ = options.tensors.size();
    shard_ = options.shardEnd - options.shardStart;
    accumulates_ = options.accumulates;
    withErrors(info.Env(), [&] {
      auto plan = readPlan(objectArgument(object.Get("plan"), "plan"));
      checkPlan(plan, options.parameters, options.parameters, options.statistics);
      device_ = static_cast<c10::DeviceIndex>(options.device);
      replica_ = std::make_unique<DeviceReplica>(std::move(plan), normalisation, std::move(options));
      hold(object.Get("host"));
    });
  }

 private:
  struct NamedVector {
    std::string name;
    float* values;
  };

  void upload(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto vector = vectorArgument(info);
    withErrors(info.Env(), [&] {
      if (vector.name == "weights") return replica.uploadWeights(vector.values);
      if (vector.name == "velocity") return replica.uploadVelocity(vector.values);
      if (vector.name == "statistics") return replica.uploadStatistics(vector.values);
      if (vector.name == "S") return replica.uploadS(vector.values);
      if (vector.name == "A") return replica.uploadA(vector.values);
      throw typeError("vector", "weights, velocity, statistics, S or A", info[0]);
    });
  }

  void download(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto vector = vectorArgument(info);
    withErrors(info.Env(), [&] {
      if (vector.name == "weights") return replica.downloadWeights(vector.values);
      if (vector.name == "velocity") return replica.downloadVelocity(vector.values);
      if (vector.name == "statistics") return replica.downloadStatistics(vector.values);
      if (vector.name == "S") return replica.downloadS(vector.values);
      if (vector.name == "A") return replica.downloadA(vector.values);
      if (vector.name == "gradient") return replica.downloadGradient(vector.values);
      throw typeError("vector", "weights, velocity, gradient, statistics, S or A", info[0]);
    });
  }

  /** With numbers of its length: of S and A, the shard's. */
  NamedVector vectorArgument(const Napi::CallbackInfo& info) {
    const std::string vector = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
    const bool accumulated = vector == "S" || vector == "A";
    if (accumulated && !accumulates_) {
      throw rangeError(info.Env(), "vector", "weights, velocity or statistics of a replica that keeps no S and A", vector);
    }
    const auto length = accumulated ? shard_ : vector == "statistics" ? statistics_ : parameters_;
    return {vector, numbersArgument<float>(info[1], "values", static_cast<size_t>(length)).data()};
  }

  void join(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    GroupId id;
    const auto bytes = numbersArgument<uint8_t>(info[0], "id", id.size());
    std::copy(bytes.begin(), bytes.end(), id.begin());
    const auto rank = static_cast<int>(numberArgument(info[1], "rank"));
    const auto worldSize = static_cast<int>(numberArgument(info[2], "worldSize"));
    if (rank < 0 || rank >= worldSize) {
      throw rangeError(info.Env(), "rank", "0 to " + std::to_string(worldSize - 1), std::to_string(rank));
    }
    withErrors(info.Env(), [&] { replica.join(id, rank, worldSize); });
  }

  void abandon(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    withErrors(info.Env(), [&] { replica.abandon(); });
  }

  void forget(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    withErrors(info.Env(), [&] { replica.forget(); });
  }

  Napi::Value gradient(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto passes = passesArgument(info[0], replica.plan().classes);
    const auto batchSize = batchSizeArgument(info[1]);
    const auto factors = factorsArgument(info[2]);
    const auto host = hostVectors();
    if (!host) throw typeError("host", "vectors, of a replica that computes gradients alone", info.Env().Undefined());
    return withErrors(info.Env(), [&] {
      const auto* byLayer = factors.empty() ? nullptr : factors.data();
      return resultOf(info.Env(), replica.gradient(*host, passes, batchSize, byLayer));
    });
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto batch = batchArgument(info[0], "batch", replica.plan().classes);
    auto predictions = Napi::Int32Array::New(info.Env(), static_cast<size_t>(batch.size));
    const auto host = hostVectors();
    return withErrors(info.Env(), [&] {
      auto result = resultOf(info.Env(), host ? replica.evaluate(*host, batch, predictions.Data())
                                              : replica.evaluate(batch, predictions.Data()));
      result["predictions"] = predictions;
      return result;
    });
  }

  void begin(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto factors = numbersArgument<double>(info[0], "factors", 2 * tensors_);
    auto backpropagated = factorsArgument(info[1]);
    const auto carried = totalsArgument(info[2]);
    withErrors(info.Env(), [&] { replica.begin(factors, std::move(backpropagated), carried); });
  }

  Napi::Value step(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto passes = passesArgument(info[0], replica.plan().classes);
    const auto samples = batchSizeArgument(info[1]);
    const auto object = objectArgument(info[2], "input");
    const StepInput input{
        .learningRate = numberArgument(object.Get("learningRate"), "input.learningRate"),
        .analysed = booleanArgument(object.Get("analysed"), "input.analysed"),
        .reserved = 0,
    };
    const auto first = booleanArgument(object.Get("first"), "input.first");
    const auto mode = modeArgument(info[3]);
    return withErrors(info.Env(), [&] {
      const auto totals = replica.step(passes, samples, input, first, mode);
      return totalsOf(info.Env(), totals, replica.waited());
    });
  }

  Napi::Value totals(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    return withErrors(info.Env(), [&] {
      const auto totals = replica.totals();
      return totalsOf(info.Env(), totals, replica.waited());
    });
  }

  Napi::Value measure(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto sums = withErrors(info.Env(), [&] { return replica.measure(); });
    auto numbers = Napi::Float64Array::New(info.Env(), sums.size());
    std::copy(sums.begin(), sums.end(), numbers.Data());
    return numbers;
  }

  Napi::Value timings(const Napi::CallbackInfo& info) { return timingsOf(info.Env(), checked().timings()); }
  Napi::Value memory(const Napi::CallbackInfo& info) { return memoryOf(info.Env(), checked().memory()); }

  void dispose(const Napi::CallbackInfo&) {
    // As the destructor does, in this order: what is under way ends with the replica.
    replica_.reset();
    gradientPinned_.reset();
    weightsPinned_.reset();
    host_.Reset();
  }

  /** The vectors that are read and written in every call: kept, and pinned, for as long as the replica is there. */
  void hold(const Napi::Value& value) {
    if (value.IsUndefined()) return;
    host_ = Napi::Persistent(objectArgument(value, "host"));
    const auto host = hostVectors();
    const auto bytes = static_cast<size_t>(parameters_) * sizeof(float);
    weightsPinned_.emplace(device_, const_cast<float*>(host->weights), bytes);
    gradientPinned_.emplace(device_, host->gradient, bytes);
  }

  /** None where they are the device's. Looked at in every call: what they lie in may be gone. */
  std::optional<HostVectors> hostVectors() {
    if (host_.IsEmpty()) return {};
    const Napi::Object host = host_.Value();
    const auto vector = [&](const char* name, int64_t length) {
      return numbersArgument<float>(host.Get(name), std::string("host.") + name, static_cast<size_t>(length)).data();
    };
    return HostVectors{vector("weights", parameters_), vector("gradient", parameters_), vector("statistics", statistics_)};
  }

  /** Empty, or one number a layer. */
  std::vector<double> factorsArgument(const Napi::Value& value) {
    if (value.IsUndefined()) return {};
    const auto numbers = numbersArgument<double>(value, "factors", static_cast<size_t>(checked().plan().layers));
    return {numbers.begin(), numbers.end()};
  }

  DeviceReplica& checked() {
    if (!replica_) throw Napi::Error::New(Env(), "expected a replica that is in use, got one that was disposed of");
    return *replica_;
  }

  /** Float32Arrays `weights`, `gradient` and `statistics`. */
  Napi::ObjectReference host_;
  std::optional<Pinned> weightsPinned_, gradientPinned_;
  std::unique_ptr<DeviceReplica> replica_;
  c10::DeviceIndex device_ = 0;
  int64_t parameters_ = 0;
  int64_t statistics_ = 0;
  int64_t shard_ = 0;
  bool accumulates_ = false;
  size_t tensors_ = 0;
};

}  // namespace

Napi::Function defineDeviceReplica(Napi::Env env) { return DeviceReplicaObject::define(env); }

}  // namespace cuda
