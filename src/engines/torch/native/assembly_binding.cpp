// The assembly of a batch, for JavaScript.

#include <array>

#include "arguments.h"
#include "assembly.h"
#include "batch_argument.h"
#include "exports.h"

namespace {

std::array<double, IMAGE_CHANNELS> channelsArgument(const Napi::Value& value, const std::string& name) {
  const auto array = arrayArgument(value, name);
  if (array.Length() != IMAGE_CHANNELS) {
    throw rangeError(value.Env(), name, "3 numbers", std::to_string(array.Length()));
  }
  std::array<double, IMAGE_CHANNELS> channels;
  for (uint32_t c = 0; c < IMAGE_CHANNELS; c++) {
    channels[c] = numberArgument(array.Get(c), name + "[" + std::to_string(c) + "]");
  }
  return channels;
}

template <typename T>
void assembleInto(const Napi::Value& images, const Batch& batch, const double* mean, const double* std) {
  const auto target = numbersArgument<T>(images, "images");
  const auto needed = static_cast<size_t>(batch.count * IMAGE_PIXELS);
  if (target.size() < needed) {
    throw rangeError(images.Env(), "images", "at least " + std::to_string(needed) + " numbers",
                     std::to_string(target.size()));
  }
  assemble(PixelTable<T>(mean, std), batch, 0, batch.count, target.data());
}

void assembleBatch(const Napi::CallbackInfo& info) {
  const auto batch = batchArgument(info[0], "batch");
  const auto normalisation = objectArgument(info[1], "normalisation");
  const auto mean = channelsArgument(normalisation.Get("mean"), "normalisation.mean");
  const auto std = channelsArgument(normalisation.Get("std"), "normalisation.std");
  if (isTypedArray(info[2], napi_float64_array)) {
    assembleInto<double>(info[2], batch, mean.data(), std.data());
  } else {
    assembleInto<float>(info[2], batch, mean.data(), std.data());
  }
}

}  // namespace

void exportAssembly(Napi::Env env, Napi::Object exports) {
  exports["assemble"] = Napi::Function::New(env, assembleBatch, "assemble");
}
