// A batch as JavaScript passes it, and how its pixels are normalised.

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

/**
 * Reads mean and std, three numbers each, of an object.
 *
 * @param name of the value, in errors.
 * @throws TypeError, RangeError as above.
 */
Normalisation normalisationArgument(const Napi::Value& value, const std::string& name);
