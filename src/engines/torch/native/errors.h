// What libtorch or this code throws becomes a JavaScript error: past the border it would end the process.

#pragma once

#include <c10/util/Exception.h>
#include <napi.h>

#include <exception>
#include <string>

template <typename Body>
auto withErrors(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    const std::string what = error.what_without_backtrace();
    throw Napi::Error::New(env, "the device is out of memory; use a smaller batchSize or microBatch, or more devices (" +
                                    what.substr(0, what.find(". ")) + ")");
  } catch (const c10::Error& error) {
    throw Napi::Error::New(env, std::string("libtorch: ") + error.what_without_backtrace());
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}
