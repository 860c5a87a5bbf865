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
void assembleInto(const Napi::Value& images, const Batch& batch, const Normalisation& normalisation) {
  const auto target = numbersArgument<T>(images, "images");
  const auto needed = static_cast<size_t>(batch.size * IMAGE_PIXELS);
  if (target.size() < needed) {
    throw rangeError(images.Env(), "images", "at least " + std::to_string(needed) + " numbers",
                     std::to_string(target.size()));
  }
  assemble(PixelTable(normalisation), batch, 0, batch.size, target.data());
}

void assembleBatch(const Napi::CallbackInfo& info) {
  const auto batch = batchArgument(info[0], "batch");
  const auto object = objectArgument(info[1], "normalisation");
  const Normalisation normalisation{channelsArgument(object.Get("mean"), "normalisation.mean"),
                                    channelsArgument(object.Get("std"), "normalisation.std")};
  if (isTypedArray(info[2], napi_float64_array)) {
    assembleInto<double>(info[2], batch, normalisation);
  } else {
    assembleInto<float>(info[2], batch, normalisation);
  }
}

}  // namespace

void exportAssembly(Napi::Env env, Napi::Object exports) {
  exports["assemble"] = Napi::Function::New(env, assembleBatch, "assemble");
}
