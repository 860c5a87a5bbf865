// The class Replica of the addon: checks what JavaScript hands over, once, at this border.

#include <ATen/ops/from_blob.h>

#include "exports.h"
#include "replica.h"

namespace {

/** A typed array over memory that JavaScript owns; the object keeps a reference to it. */
at::Tensor viewOf(const Napi::Value& value, at::ScalarType type) {
  // Not through its ArrayBuffer: there is none where the memory is shared.
  size_t length = 0;
  void* data = nullptr;
  napi_get_typedarray_info(value.Env(), value, nullptr, &length, &data, nullptr, nullptr);
  return at::from_blob(data, {static_cast<int64_t>(length)}, at::TensorOptions(type));
}

std::array<double, 3> triple(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::array<double, 3> result;
  for (uint32_t i = 0; i < 3; i++) result[i] = array.Get(i).As<Napi::Number>().DoubleValue();
  return result;
}

template <typename T>
const T* dataOr(const Napi::Value& value, const T* fallback) {
  if (!value.IsTypedArray()) return fallback;
  return static_cast<const T*>(value.As<Napi::TypedArrayOf<T>>().Data());
}

Batch readBatch(const Napi::Object& batch) {
  return {
      .images = dataOr<uint8_t>(batch.Get("images"), nullptr),
      .labels = dataOr<uint8_t>(batch.Get("labels"), nullptr),
      .indices = dataOr<uint32_t>(batch.Get("indices"), nullptr),
      .size = static_cast<int64_t>(batch.Get("indices").As<Napi::TypedArray>().ElementLength()),
      .top = dataOr<uint8_t>(batch.Get("top"), nullptr),
      .left = dataOr<uint8_t>(batch.Get("left"), nullptr),
      .flip = dataOr<uint8_t>(batch.Get("flip"), nullptr),
  };
}

class ReplicaObject : public Napi::ObjectWrap<ReplicaObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Replica",
                       {
                           InstanceMethod<&ReplicaObject::gradient>("gradient"),
                           InstanceMethod<&ReplicaObject::evaluate>("evaluate"),
                           InstanceMethod<&ReplicaObject::memory>("memory"),
                           InstanceMethod<&ReplicaObject::dispose>("dispose"),
                       });
  }

  explicit ReplicaObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReplicaObject>(info) {
    const auto options = info[0].As<Napi::Object>();
    const auto parameters = options.Get("parameters");
    const auto type =
        parameters.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array ? at::kDouble : at::kFloat;
    memory_ = Napi::Persistent(Napi::Object::New(info.Env()));
    for (const auto* name : {"parameters", "gradient", "statistics"}) memory_.Set(name, options.Get(name));
    const Vectors vectors{viewOf(parameters, type), viewOf(options.Get("gradient"), type),
                          viewOf(options.Get("statistics"), type)};
    replica_ = std::make_unique<Replica>(readPlan(options.Get("plan").As<Napi::Object>()), vectors,
                                         Normalisation{triple(options.Get("mean")), triple(options.Get("std"))},
                                         options.Get("labelSmoothing").As<Napi::Number>().DoubleValue());
  }

 private:
  Napi::Value gradient(const Napi::CallbackInfo& info) {
    const auto array = info[0].As<Napi::Array>();
    std::vector<Batch> passes;
    for (uint32_t i = 0; i < array.Length(); i++) passes.push_back(readBatch(array.Get(i).As<Napi::Object>()));
    const auto result = checked().gradient(passes, info[1].As<Napi::Number>().Int64Value(), dataOr<double>(info[2], nullptr));
    return resultOf(info.Env(), result);
  }

  Napi::Value evaluate(const Napi::CallbackInfo& info) {
    const auto batch = readBatch(info[0].As<Napi::Object>());
    auto predictions = Napi::Int32Array::New(info.Env(), static_cast<size_t>(batch.size));
    auto result = resultOf(info.Env(), checked().evaluate(batch, predictions.Data()));
    result["predictions"] = predictions;
    return result;
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    const auto [tensors, bytes] = checked().memory();
    auto object = Napi::Object::New(info.Env());
    object["tensors"] = Napi::Number::New(info.Env(), static_cast<double>(tensors));
    object["bytes"] = Napi::Number::New(info.Env(), static_cast<double>(bytes));
    return object;
  }

  void dispose(const Napi::CallbackInfo&) {
    replica_.reset();
    memory_.Reset();
  }

  Replica& checked() {
    if (!replica_) throw Napi::Error::New(Env(), "expected a replica that is in use, got one that was disposed of");
    return *replica_;
  }

  static Napi::Object resultOf(Napi::Env env, const PassResult& result) {
    auto object = Napi::Object::New(env);
    object["lossSum"] = Napi::Number::New(env, result.lossSum);
    object["correct"] = Napi::Number::New(env, static_cast<double>(result.correct));
    return object;
  }

  /** The arrays that the replica's vectors view. */
  Napi::ObjectReference memory_;
  std::unique_ptr<Replica> replica_;
};

}  // namespace

void exportReplica(Napi::Env env, Napi::Object exports) { exports["Replica"] = ReplicaObject::define(env); }
