// A function of JavaScript by which the workers' replicas exchange numbers; see AllGather in src/engines/engine.ts.

#pragma once

#include <napi.h>

#include "replica.h"

/**
 * For float64 tensors on the host; called on JavaScript's own thread. What the function throws goes on as it is.
 *
 * @return null where the value is undefined.
 */
AllGather allGatherArgument(const Napi::Value& value);
