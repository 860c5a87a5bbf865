#include "module.h"

#include <ATen/cuda/CUDAContext.h>
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <algorithm>
#include <future>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "sources.h"

namespace cuda {

namespace {

using Image = std::vector<char>;

[[noreturn]] void fail(const std::string& what, const std::string& why) {
  throw std::runtime_error("CUDA: " + what + ": " + why);
}

void check(cudaError_t result, const std::string& what) {
  if (result != cudaSuccess) fail(what, cudaGetErrorString(result));
}

void check(nvrtcResult result, const std::string& what) {
  if (result != NVRTC_SUCCESS) fail(what, nvrtcGetErrorString(result));
}

/** Of the driver's interface; what we call is older. */
constexpr unsigned DRIVER_VERSION = 12000;

/** A function of libcuda, asked of the runtime: the addon loads where there is no driver. */
template <typename Function>
Function driverFunction(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status;
#if CUDART_VERSION >= 12050
  const auto result = cudaGetDriverEntryPointByVersion(name, &found, DRIVER_VERSION, cudaEnableDefault, &status);
#elif CUDART_VERSION >= 12000
  const auto result = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &status);
#else
  status = cudaDriverEntryPointSuccess;
  const auto result = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault);
#endif
  check(result, name);
  if (status != cudaDriverEntryPointSuccess || !found) fail(name, "the driver has no such function");
  return reinterpret_cast<Function>(found);
}

struct Driver {
  decltype(&cuGetErrorString) getErrorString = driverFunction<decltype(&cuGetErrorString)>("cuGetErrorString");
  decltype(&cuModuleLoadData) moduleLoadData = driverFunction<decltype(&cuModuleLoadData)>("cuModuleLoadData");
  decltype(&cuModuleGetFunction) moduleGetFunction =
      driverFunction<decltype(&cuModuleGetFunction)>("cuModuleGetFunction");
  decltype(&cuLaunchKernel) launchKernel = driverFunction<decltype(&cuLaunchKernel)>("cuLaunchKernel");

  void check(CUresult result, const std::string& what) const {
    if (result == CUDA_SUCCESS) return;
    const char* text = nullptr;
    getErrorString(result, &text);
    fail(what, text ? text : "error " + std::to_string(result));
  }
};

const Driver& driver() {
  static const Driver driver;
  return driver;
}

/** NVRTC looks for its built-in headers by the name of a library alone; pip's is in a folder of no search path. */
void loadBuiltins() {
  Dl_info info;
  int major = 0;
  int minor = 0;
  if (!dladdr(reinterpret_cast<void*>(&nvrtcVersion), &info) || nvrtcVersion(&major, &minor) != NVRTC_SUCCESS) return;
  const std::string library = info.dli_fname;
  const auto folder = library.substr(0, library.rfind('/') + 1);
  const auto name = "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
  // Where it is elsewhere, NVRTC may find it by itself; where it is not, NVRTC says so.
  dlopen((folder + name).c_str(), RTLD_NOW | RTLD_GLOBAL);
}

std::string logOf(nvrtcProgram program) {
  size_t size = 0;
  check(nvrtcGetProgramLogSize(program, &size), "log of NVRTC");
  std::string log(size, '\0');
  check(nvrtcGetProgramLog(program, log.data()), "log of NVRTC");
  return log;
}

Image compile(const Source& source, const std::string& architecture) {
  std::vector<const char*> names;
  std::vector<const char*> texts;
  for (const auto& header : HEADERS) {
    names.push_back(header.name);
    texts.push_back(header.text);
  }
  nvrtcProgram program = nullptr;
  const auto headers = static_cast<int>(names.size());
  check(nvrtcCreateProgram(&program, source.text, source.name, headers, texts.data(), names.data()), source.name);
  struct Destroyer {
    nvrtcProgram program;
    ~Destroyer() { nvrtcDestroyProgram(&program); }
  } destroyer{program};
  const auto target = "--gpu-architecture=" + architecture;
  const char* options[] = {"--std=c++17", target.c_str()};
  if (const auto result = nvrtcCompileProgram(program, 2, options); result != NVRTC_SUCCESS) {
    fail(std::string("compiling ") + source.name + " for " + architecture,
         nvrtcGetErrorString(result) + ("\n" + logOf(program)));
  }
  size_t size = 0;
  check(nvrtcGetCUBINSize(program, &size), source.name);
  Image image(size);
  check(nvrtcGetCUBIN(program, image.data()), source.name);
  return image;
}

/** All programs, side by side: each takes seconds. */
std::vector<Image> compileAll(const std::string& architecture) {
  loadBuiltins();
  std::vector<std::future<Image>> pending;
  for (const auto& source : PROGRAMS) {
    pending.push_back(std::async(std::launch::async, [&] { return compile(source, architecture); }));
  }
  // First all of them, since those that still run read what an exception would free.
  for (const auto& image : pending) image.wait();
  std::vector<Image> images;
  for (auto& image : pending) images.push_back(image.get());
  return images;
}

/** A module on a device, and the image that it was loaded from, which lives as long as the process. */
struct Module {
  CUmodule module;
  const Image* image;

  /** Images are ELF files with a section for each kernel: to ask the driver for what is not there would be an error. */
  bool has(const std::string& kernel) const {
    const auto section = ".text." + kernel;
    // With the 0 behind it.
    return std::search(image->begin(), image->end(), section.c_str(), section.c_str() + section.size() + 1) != image->end();
  }
};

/** What one device has. */
struct Loaded {
  std::vector<Module> modules;
  std::unordered_map<std::string, CUfunction> functions;
};

/** Of the process: worker threads share devices. Never unloaded, since the driver may end before us. */
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::vector<Image>> images;
  std::map<int, Loaded> devices;
};

Registry& registry() {
  static auto* registry = new Registry;
  return *registry;
}

std::string architectureOf(const cudaDeviceProp& properties) {
  return "sm_" + std::to_string(properties.major) + std::to_string(properties.minor);
}

/** Of the current device; callers hold the mutex. */
Loaded& loaded(Registry& registry) {
  const int device = at::cuda::current_device();
  if (const auto found = registry.devices.find(device); found != registry.devices.end()) return found->second;
  const auto architecture = architectureOf(*at::cuda::getCurrentDeviceProperties());
  auto& images = registry.images[architecture];
  if (images.empty()) images = compileAll(architecture);
  // Makes the device's context the thread's: the driver's functions need one.
  check(cudaFree(nullptr), "device " + std::to_string(device));
  Loaded loaded;
  for (size_t i = 0; i < images.size(); i++) {
    CUmodule module = nullptr;
    driver().check(driver().moduleLoadData(&module, images[i].data()), std::string("loading ") + PROGRAMS[i].name);
    loaded.modules.push_back({module, &images[i]});
  }
  return registry.devices[device] = std::move(loaded);
}

CUfunction functionOf(const std::string& kernel) {
  auto& shared = registry();
  const std::lock_guard lock(shared.mutex);
  auto& device = loaded(shared);
  if (const auto found = device.functions.find(kernel); found != device.functions.end()) return found->second;
  for (const auto& module : device.modules) {
    if (!module.has(kernel)) continue;
    CUfunction function = nullptr;
    driver().check(driver().moduleGetFunction(&function, module.module, kernel.c_str()), kernel);
    return device.functions[kernel] = function;
  }
  fail(kernel, "no such kernel");
}

/** The driver's functions work on the context of the thread, which a new thread has none of. */
void bindThread() {
  thread_local int bound = -1;
  const int device = at::cuda::current_device();
  if (bound == device) return;
  check(cudaSetDevice(device), "device " + std::to_string(device));
  bound = device;
}

}  // namespace

void loadKernels() {
  auto& shared = registry();
  const std::lock_guard lock(shared.mutex);
  loaded(shared);
}

int multiprocessorCount() { return at::cuda::getCurrentDeviceProperties()->multiProcessorCount; }

void launchKernel(const char* kernel, Grid grid, unsigned threads, const void* argument) {
  const auto function = functionOf(kernel);
  bindThread();
  // The driver reads the argument during the call.
  void* arguments[] = {const_cast<void*>(argument)};
  driver().check(driver().launchKernel(function, grid.x, grid.y, 1, threads, 1, 1, 0,
                                       at::cuda::getCurrentCUDAStream().stream(), arguments, nullptr),
                 std::string("launching ") + kernel);
}

}  // namespace cuda
