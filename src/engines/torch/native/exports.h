// What each file that faces JavaScript adds to the addon's exports; src/engines/torch/addon.ts has their types.

#pragma once

#include <napi.h>

void exportBuild(Napi::Env env, Napi::Object exports);
void exportReplica(Napi::Env env, Napi::Object exports);
void exportUpdate(Napi::Env env, Napi::Object exports);
void exportAssembly(Napi::Env env, Napi::Object exports);
/** Behind exportBuild; adds nothing where libtorch is without CUDA. */
void exportCuda(Napi::Env env, Napi::Object exports);
