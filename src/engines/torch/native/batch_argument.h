// A batch as JavaScript passes it.

#pragma once

#include <napi.h>

#include <string>

#include "batch.h"

/**
 * Reads a NativeBatch of addon.ts.
 *
 * @param name of the value, in errors.
 * @throws TypeError, RangeError where anything has another class or lies outside its bounds.
 */
Batch batchArgument(const Napi::Value& value, const std::string& name);
