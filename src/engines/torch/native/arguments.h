// What JavaScript passes, checked at the border: a TypeError or RangeError says what was expected and what came.

#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>

/** What a value is, for an error. */
std::string describe(const Napi::Value& value);

Napi::Error typeError(const std::string& name, const std::string& expected, const Napi::Value& got);
Napi::Error rangeError(Napi::Env env, const std::string& name, const std::string& expected, const std::string& got);

Napi::Object objectArgument(const Napi::Value& value, const std::string& name);
double numberArgument(const Napi::Value& value, const std::string& name);
bool booleanArgument(const Napi::Value& value, const std::string& name);

Napi::Array arrayArgument(const Napi::Value& value, const std::string& name);

/** The JavaScript class of a typed array. */
template <typename T>
struct TypedArrayOf;
template <>
struct TypedArrayOf<float> {
  static constexpr auto type = napi_float32_array;
  static constexpr auto name = "Float32Array";
};
template <>
struct TypedArrayOf<double> {
  static constexpr auto type = napi_float64_array;
  static constexpr auto name = "Float64Array";
};
template <>
struct TypedArrayOf<uint8_t> {
  static constexpr auto type = napi_uint8_array;
  static constexpr auto name = "Uint8Array";
};
template <>
struct TypedArrayOf<uint32_t> {
  static constexpr auto type = napi_uint32_array;
  static constexpr auto name = "Uint32Array";
};

inline bool isTypedArray(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

/** The numbers of a typed array, in ordinary or shared memory; they live as long as the JavaScript value. */
template <typename T>
std::span<T> numbersArgument(const Napi::Value& value, const std::string& name) {
  if (!isTypedArray(value, TypedArrayOf<T>::type)) throw typeError(name, std::string("a ") + TypedArrayOf<T>::name, value);
  auto array = value.As<Napi::TypedArrayOf<T>>();
  return {array.Data(), array.ElementLength()};
}

/** @throws RangeError unless there are `length` of them. */
template <typename T>
std::span<T> numbersArgument(const Napi::Value& value, const std::string& name, size_t length) {
  const auto numbers = numbersArgument<T>(value, name);
  if (numbers.size() != length) {
    throw rangeError(value.Env(), name, std::to_string(length) + " numbers", std::to_string(numbers.size()));
  }
  return numbers;
}
