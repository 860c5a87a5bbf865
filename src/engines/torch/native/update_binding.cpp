// The fused update of a shard, for JavaScript.

#include "exports.h"

void exportUpdate(Napi::Env, Napi::Object) {}
