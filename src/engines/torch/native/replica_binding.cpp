// The class Replica of the addon: checks what JavaScript hands over, once, at this border.

#include <ATen/ops/from_blob.h>

#include "all_gather_argument.h"
#include "allocator.h"
#include "arguments.h"
#include "batch_argument.h"
#include "errors.h"
#include "exports.h"
#include "replica.h"
#include "results.h"

namespace {

/** A typed array over memory that JavaScript owns; the object keeps a reference to it. */
template <typename T>
at::Tensor vectorArgument(const Napi::Object& options, const char* name) {
  const auto numbers = numbersArgument<T>(options.Get(name), name);
  return at::from_blob(numbers.data(), {static_cast<int64_t>(numbers.size())}, at::CppTypeToScalarType<T>::value);
}

/** All of the type of the parameters. */
Vectors vectorsArgument(const Napi::Object& options) {
  const auto read = [&](auto vector) {
    return Vectors{vector("parameters"), vector("gradient"), vector("statistics")};
  };
  if (isTypedArray(options.Get("parameters"), napi_float64_array)) {
    return read([&](const char* name) { return vectorArgument<double>(options, name); });
  }
  return read([&](const char* name) { return vectorArgument<float>(options, name); });
}

/** GPUs have a class of their own, cuda/device_replica.h. */
void checkDevice(const Napi::Value& value) {
  if (!value.IsString() || value.As<Napi::String>().Utf8Value() != "cpu") {
    throw typeError("device", "cpu", value);
  }
}

class ReplicaObject : public Napi::ObjectWrap<ReplicaObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Replica",
                       {
                           InstanceMethod<&ReplicaObject::gradient>("gradient"),
                           InstanceMethod<&ReplicaObject::evaluate>("evaluate"),
                           InstanceMethod<&ReplicaObject::timings>("timings"),
                           InstanceMethod<&ReplicaObject::memory>("memory"),
                           InstanceMethod<&ReplicaObject::dispose>("dispose"),
                       });
  }

  explicit ReplicaObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReplicaObject>(info) {
    const auto options = objectArgument(info[0], "options");
    checkDevice(options.Get("device"));
    auto vectors = vectorsArgument(options);
    vectors.allGather = allGatherArgument(options.Get("allGather"));
    const auto normalisation = normalisationArgument(options, "options");
    const auto smoothing = numberArgument(options.Get("labelSmoothing"), "labelSmoothing");
    withErrors(info.Env(), [&] {
      auto plan = readPlan(objectArgument(options.Get("plan"), "plan"));
      checkPlan(plan, vectors.parameters.numel(), vectors.gradient.numel(), vectors.statistics.numel());
      classes_ = plan.classes;
      layers_ = plan.layers;
      replica_ = std::make_unique<Replica>(
          std::move(plan), vectors, normalisation,
          ReplicaOptions{.labelSmoothing = smoothing, .profiled = options.Get("profiled").ToBoolean()});
    });
    memory_ = Napi::Persistent(Napi::Object::New(info.Env()));
    remember("parameters", options, vectors.parameters);
    remember("gradient", options, vectors.gradient);
    remember("statistics", options, vectors.statistics);
  }

 private:
  Napi::Value gradient(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto passes = passesArgument(info[0], classes_);
    const auto batchSize = batchSizeArgument(info[1]);
    const double* factors = nullptr;
    if (!info[2].IsUndefined()) {
      factors = numbersArgument<double>(info[2], "factors", static_cast<size_t>(layers_)).data();
    }
    return withErrors(info.Env(), [&] {
      return resultOf(info.Env(), replica.gradient(passes, batchSize, factors));
    });
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
    auto& replica = checked();
    const auto batch = batchArgument(info[0], "batch", classes_);
    auto predictions = Napi::Int32Array::New(info.Env(), static_cast<size_t>(batch.size));
    return withErrors(info.Env(), [&] {
      auto result = resultOf(info.Env(), replica.evaluate(batch, predictions.Data()));
      result["predictions"] = predictions;
      return result;
    });
  }

  Napi::Value timings(const Napi::CallbackInfo& info) { return timingsOf(info.Env(), checked().timings()); }

  Napi::Value memory(const Napi::CallbackInfo& info) { return memoryOf(info.Env(), checked().memory()); }

  void dispose(const Napi::CallbackInfo&) {
    replica_.reset();
    releaseMemory();
    memory_.Reset();
  }

  Replica& checked() {
    if (!replica_) throw Napi::Error::New(Env(), "expected a replica that is in use, got one that was disposed of");
    for (const auto& [name, numbers] : views_) {
      if (numbersOf(memory_.Get(name)) == numbers) continue;
      throw rangeError(Env(), name, "the memory that the replica was made with", "an array that was transferred or resized");
    }
    return *replica_;
  }

  /** Keeps an array alive, and what it looked like when the replica was made. */
  void remember(const char* name, const Napi::Object& options, const at::Tensor& vector) {
    memory_.Set(name, options.Get(name));
    views_.emplace_back(name, Numbers{vector.data_ptr(), static_cast<size_t>(vector.numel())});
  }

  using Numbers = std::pair<void*, size_t>;

  static Numbers numbersOf(const Napi::Value& array) {
    Numbers numbers;
    auto& [data, length] = numbers;
    napi_get_typedarray_info(array.Env(), array, nullptr, &length, &data, nullptr, nullptr);
    return numbers;
  }

  /** The arrays that the replica's vectors view. */
  Napi::ObjectReference memory_;
  std::vector<std::pair<const char*, Numbers>> views_;
  std::unique_ptr<Replica> replica_;
  int64_t classes_ = 0;
  int layers_ = 0;
};

}  // namespace

void exportReplica(Napi::Env env, Napi::Object exports) { exports["Replica"] = ReplicaObject::define(env); }
