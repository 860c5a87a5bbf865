// What calls of a replica give, as JavaScript objects; src/engines/torch/addon.ts has their types.

#pragma once

#include <napi.h>

#include <vector>

#include "replica.h"

Napi::Object resultOf(Napi::Env env, const PassResult& result);
Napi::Value timingsOf(Napi::Env env, const std::vector<Timing>& timings);
Napi::Value memoryOf(Napi::Env env, const Memory& memory);
