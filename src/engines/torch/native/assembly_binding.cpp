// The assembly of a batch, for JavaScript.

#include "arguments.h"
#include "assembly.h"
#include "batch_argument.h"
#include "exports.h"

namespace {

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
  const auto normalisation = normalisationArgument(info[1], "normalisation");
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
