// What the addon was built for, what it runs on, and the threads it may use.

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <string>

#include "arguments.h"
#include "exports.h"
#include "instruction_set.h"

namespace {

/** Where a system cannot start a thread, OpenMP ends the process. */
constexpr int MOST_THREADS = 1024;

/** The version of the libtorch that runs, which only its description of itself tells; empty where that does not. */
std::string libtorchVersion() {
  const std::string key = "TORCH_VERSION=";
  const auto description = at::show_config();
  const auto at = description.find(key);
  if (at == std::string::npos) return "";
  const auto start = at + key.size();
  return description.substr(start, description.find_first_not_of("0123456789.", start) - start);
}

void setThreads(const Napi::CallbackInfo& info) {
  const auto count = numberArgument(info[0], "count");
  if (!(count >= 1 && count <= MOST_THREADS)) {
    throw rangeError(info.Env(), "count", "1 to " + std::to_string(MOST_THREADS), info[0].ToString());
  }
  // The first set_num_threads of a process sets every thread's number, unless this thread has asked for its own.
  at::get_num_threads();
  at::set_num_threads(static_cast<int>(count));
}

Napi::Value threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), at::get_num_threads());
}

}  // namespace

void exportBuild(Napi::Env env, Napi::Object exports) {
  auto build = Napi::Object::New(env);
  build["libtorch"] = Napi::String::New(env, libtorchVersion());
  build["compiledFor"] = Napi::String::New(env, TORCH_VERSION);
  build["instructionSet"] = Napi::String::New(env, nameOf(instructionSet()));
  // Where libtorch has CUDA, exportCuda knows more.
  build["cuda"] = env.Null();
  build["driver"] = env.Null();
  exports["build"] = build;
  exports["threads"] = Napi::Function::New(env, threads);
  exports["setThreads"] = Napi::Function::New(env, setThreads);
}
