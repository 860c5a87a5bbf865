#include "arguments.h"

std::string describe(const Napi::Value& value) {
  if (value.IsUndefined()) return "undefined";
  if (value.IsNull()) return "null";
  if (value.IsObject()) {
    const Napi::Value constructor = value.As<Napi::Object>().Get("constructor");
    if (!constructor.IsFunction()) return "an object";
    const auto name = constructor.As<Napi::Object>().Get("name").ToString().Utf8Value();
    return (std::string("AEIO").find(name[0]) == std::string::npos ? "a " : "an ") + name;
  }
  if (value.IsSymbol()) return "a symbol";
  return value.IsString() ? "a string" : value.ToString().Utf8Value();
}

Napi::Error typeError(const std::string& name, const std::string& expected, const Napi::Value& got) {
  return Napi::TypeError::New(got.Env(), name + ": expected " + expected + ", got " + describe(got));
}

Napi::Error rangeError(Napi::Env env, const std::string& name, const std::string& expected, const std::string& got) {
  return Napi::RangeError::New(env, name + ": expected " + expected + ", got " + got);
}

Napi::Object objectArgument(const Napi::Value& value, const std::string& name) {
  if (!value.IsObject()) throw typeError(name, "an object", value);
  return value.As<Napi::Object>();
}

double numberArgument(const Napi::Value& value, const std::string& name) {
  if (!value.IsNumber()) throw typeError(name, "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

bool booleanArgument(const Napi::Value& value, const std::string& name) {
  if (!value.IsBoolean()) throw typeError(name, "a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

Napi::Array arrayArgument(const Napi::Value& value, const std::string& name) {
  if (!value.IsArray()) throw typeError(name, "an array", value);
  return value.As<Napi::Array>();
}
