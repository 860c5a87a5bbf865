#include "all_gather_argument.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <memory>

#include "arguments.h"

AllGather allGatherArgument(const Napi::Value& value) {
  if (value.IsUndefined()) return {};
  if (!value.IsFunction()) throw typeError("allGather", "a function", value);
  // Copied along with the function object that is made here.
  const auto function = std::make_shared<Napi::FunctionReference>(Napi::Persistent(value.As<Napi::Function>()));
  return [function](const at::Tensor& own) {
    const auto env = function->Env();
    const Napi::HandleScope scope(env);
    const auto length = own.numel();
    const auto* numbers = own.data_ptr<double>();
    auto sent = Napi::Float64Array::New(env, static_cast<size_t>(length));
    std::copy(numbers, numbers + length, sent.Data());
    const auto received = numbersArgument<double>(function->Call({sent}), "what allGather returns");
    const auto workers = static_cast<int64_t>(received.size()) / length;
    if (workers == 0 || static_cast<int64_t>(received.size()) != workers * length) {
      throw rangeError(env, "what allGather returns", std::to_string(length) + " numbers of each worker",
                       std::to_string(received.size()));
    }
    auto all = at::empty({workers, length}, own.options());
    std::copy(received.begin(), received.end(), all.data_ptr<double>());
    return all;
  };
}
