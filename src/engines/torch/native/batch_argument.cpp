#include "batch_argument.h"

#include <array>

#include "arguments.h"

namespace {

/** @throws RangeError naming the first number above `largest`. */
template <typename T>
void checkLargest(Napi::Env env, const std::string& name, std::span<const T> numbers, int64_t largest) {
  for (size_t i = 0; i < numbers.size(); i++) {
    if (static_cast<int64_t>(numbers[i]) <= largest) continue;
    throw rangeError(env, name + "[" + std::to_string(i) + "]", "0 to " + std::to_string(largest),
                     std::to_string(numbers[i]));
  }
}

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

}  // namespace

Normalisation normalisationArgument(const Napi::Value& value, const std::string& name) {
  const auto object = objectArgument(value, name);
  return {channelsArgument(object.Get("mean"), name + ".mean"), channelsArgument(object.Get("std"), name + ".std")};
}

Batch batchArgument(const Napi::Value& value, const std::string& name) {
  const auto env = value.Env();
  const auto object = objectArgument(value, name);
  const auto path = [&](const char* key) { return name + "." + key; };
  const std::span<const uint8_t> images = numbersArgument<uint8_t>(object.Get("images"), path("images"));
  if (images.empty() || images.size() % IMAGE_PIXELS != 0) {
    throw rangeError(env, path("images"), "whole images of 3072 bytes", std::to_string(images.size()) + " bytes");
  }
  const auto size = images.size() / IMAGE_PIXELS;
  const auto labels = numbersArgument<uint8_t>(object.Get("labels"), path("labels"), size);
  const std::span<const uint32_t> indices = numbersArgument<uint32_t>(object.Get("indices"), path("indices"));
  checkLargest(env, path("indices"), indices, static_cast<int64_t>(size) - 1);

  const bool augmented =
      !object.Get("top").IsUndefined() || !object.Get("left").IsUndefined() || !object.Get("flip").IsUndefined();
  const auto augmentation = [&](const char* key, int64_t largest) -> const uint8_t* {
    if (!augmented) return nullptr;
    const std::span<const uint8_t> values = numbersArgument<uint8_t>(object.Get(key), path(key), indices.size());
    checkLargest(env, path(key), values, largest);
    return values.data();
  };
  return {
      .images = images.data(),
      .labels = labels.data(),
      .splitSize = static_cast<int64_t>(size),
      .indices = indices.data(),
      .size = static_cast<int64_t>(indices.size()),
      .top = augmentation("top", 2 * PADDING),
      .left = augmentation("left", 2 * PADDING),
      .flip = augmentation("flip", 1),
  };
}

Batch batchArgument(const Napi::Value& value, const std::string& name, int64_t classes) {
  const auto batch = batchArgument(value, name);
  for (int64_t i = 0; i < batch.size; i++) {
    const auto label = batch.labels[batch.indices[i]];
    if (label < classes) continue;
    throw rangeError(value.Env(), name + ": sample " + std::to_string(i),
                     "a label from 0 to " + std::to_string(classes - 1), std::to_string(label));
  }
  return batch;
}

std::vector<Batch> passesArgument(const Napi::Value& value, int64_t classes) {
  const auto array = arrayArgument(value, "passes");
  std::vector<Batch> passes;
  for (uint32_t i = 0; i < array.Length(); i++) {
    passes.push_back(batchArgument(array.Get(i), "passes[" + std::to_string(i) + "]", classes));
  }
  return passes;
}

int64_t batchSizeArgument(const Napi::Value& value) {
  const auto size = numberArgument(value, "batchSize");
  if (!(size >= 1)) throw rangeError(value.Env(), "batchSize", "at least 1", value.ToString());
  return static_cast<int64_t>(size);
}
