// The GPUs of this machine, what the addon was built for, and the settings that libtorch keeps for the whole process.

#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>

#include "../arguments.h"
#include "../errors.h"
#include "../exports.h"
#include "bindings.h"
#include "collective.h"

namespace cuda {
namespace {

/** As CUDA numbers its versions: 13000 is 13.0. */
std::string versionName(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

Napi::Value driverVersion(Napi::Env env) {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) return env.Null();
  return Napi::String::New(env, versionName(version));
}

/** Every GPU that this process sees; none where there is no driver. */
Napi::Value devices(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    count = 0;
  }
  auto list = Napi::Array::New(env);
  for (int index = 0; index < count; index++) {
    cudaDeviceProp properties;
    withErrors(env, [&] { C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, index)); });
    auto device = Napi::Object::New(env);
    device["name"] = Napi::String::New(env, properties.name);
    device["memoryBytes"] = Napi::Number::New(env, static_cast<double>(properties.totalGlobalMem));
    auto capability = Napi::Array::New(env);
    capability[0u] = Napi::Number::New(env, properties.major);
    capability[1u] = Napi::Number::New(env, properties.minor);
    device["computeCapability"] = capability;
    device["multiprocessors"] = Napi::Number::New(env, properties.multiProcessorCount);
    list[static_cast<uint32_t>(index)] = device;
  }
  return list;
}

/**
 * Precision and determinism of cuDNN and cuBLAS, which are the process's: {tf32, deterministic}. Where the algorithms may
 * be any, cuDNN tries them out on each new shape.
 */
void configure(const Napi::CallbackInfo& info) {
  const auto options = objectArgument(info[0], "options");
  const auto tf32 = booleanArgument(options.Get("tf32"), "tf32");
  const auto deterministic = booleanArgument(options.Get("deterministic"), "deterministic");
  auto& context = at::globalContext();
  context.setAllowTF32CuDNN(tf32);
  context.setAllowTF32CuBLAS(tf32);
  context.setDeterministicCuDNN(deterministic);
  context.setBenchmarkCuDNN(!deterministic);
}

Napi::Value groupId(const Napi::CallbackInfo& info) {
  const auto id = withErrors(info.Env(), [] { return makeGroupId(); });
  auto bytes = Napi::Uint8Array::New(info.Env(), id.size());
  std::copy(id.begin(), id.end(), reinterpret_cast<char*>(bytes.Data()));
  return bytes;
}

/** Most that this process has had on a GPU, in bytes: of its tensors, and taken from the device. */
Napi::Value deviceMemory(const Napi::CallbackInfo& info) {
  const auto device = static_cast<c10::DeviceIndex>(numberArgument(info[0], "device"));
  const auto stats =
      withErrors(info.Env(), [&] { return c10::cuda::CUDACachingAllocator::getDeviceStats(device); });
  auto object = Napi::Object::New(info.Env());
  // The first is that of small and large blocks together.
  object["allocatedPeak"] = Napi::Number::New(info.Env(), static_cast<double>(stats.allocated_bytes[0].peak));
  object["reservedPeak"] = Napi::Number::New(info.Env(), static_cast<double>(stats.reserved_bytes[0].peak));
  object["allocated"] = Napi::Number::New(info.Env(), static_cast<double>(stats.allocated_bytes[0].current));
  object["reserved"] = Napi::Number::New(info.Env(), static_cast<double>(stats.reserved_bytes[0].current));
  return object;
}

}  // namespace
}  // namespace cuda

void exportCuda(Napi::Env env, Napi::Object exports) {
  auto build = exports.Get("build").As<Napi::Object>();
  build["cuda"] = Napi::String::New(env, cuda::versionName(CUDART_VERSION));
  build["driver"] = cuda::driverVersion(env);
  exports["DeviceReplica"] = cuda::defineDeviceReplica(env);
  exports["cudaDevices"] = Napi::Function::New(env, cuda::devices, "cudaDevices");
  exports["configureCuda"] = Napi::Function::New(env, cuda::configure, "configureCuda");
  exports["makeGroupId"] = Napi::Function::New(env, cuda::groupId, "makeGroupId");
  exports["deviceMemory"] = Napi::Function::New(env, cuda::deviceMemory, "deviceMemory");
}
