#include "results.h"

Napi::Object resultOf(Napi::Env env, const PassResult& result) {
  auto object = Napi::Object::New(env);
  object["lossSum"] = Napi::Number::New(env, result.lossSum);
  object["correct"] = Napi::Number::New(env, static_cast<double>(result.correct));
  return object;
}

Napi::Value timingsOf(Napi::Env env, const std::vector<Timing>& timings) {
  auto numbers = Napi::Float64Array::New(env, 4 * timings.size());
  auto* to = numbers.Data();
  for (const auto& [position, backward, start, duration] : timings) {
    for (const auto value : {static_cast<double>(position), static_cast<double>(backward), start, duration}) *to++ = value;
  }
  return numbers;
}

Napi::Value memoryOf(Napi::Env env, const Memory& memory) {
  auto object = Napi::Object::New(env);
  object["tensors"] = Napi::Number::New(env, static_cast<double>(memory.tensors));
  object["bytes"] = Napi::Number::New(env, static_cast<double>(memory.bytes));
  return object;
}
