// A batch as JavaScript passes it, and how its pixels are normalised.

#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "batch.h"

/**
 * Reads a NativeBatch of addon.ts.
 *
 * @param name of the value, in errors.
 * @throws TypeError, RangeError where anything has another class or lies outside its bounds.
 */
Batch batchArgument(const Napi::Value& value, const std::string& name);

/** With labels that are classes of a model. */
Batch batchArgument(const Napi::Value& value, const std::string& name, int64_t classes);

/** A list of them. */
std::vector<Batch> passesArgument(const Napi::Value& value, int64_t classes);

/** At least 1. */
int64_t batchSizeArgument(const Napi::Value& value);

/**
 * Reads mean and std, three numbers each, of an object.
 *
 * @param name of the value, in errors.
 * @throws TypeError, RangeError as above.
 */
Normalisation normalisationArgument(const Napi::Value& value, const std::string& name);
