// What the files of this folder that face JavaScript offer to each other.

#pragma once

#include <napi.h>

namespace cuda {

Napi::Function defineDeviceReplica(Napi::Env env);

}  // namespace cuda
