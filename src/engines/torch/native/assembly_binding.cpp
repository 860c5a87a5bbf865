// The assembly of a batch, for JavaScript.

#include "exports.h"

void exportAssembly(Napi::Env, Napi::Object) {}
