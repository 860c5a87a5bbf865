// The addon's entry: every environment (main thread, worker threads) that loads it gets its own exports and state.

#include <napi.h>

#include "allocator.h"
#include "exports.h"

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  installAllocator();
  exportBuild(env, exports);
  exportReplica(env, exports);
  exportUpdate(env, exports);
  exportAssembly(env, exports);
  exportCuda(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(gradamp, initialise)
