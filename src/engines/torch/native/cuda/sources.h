// The texts of the kernels, which kernels.cmake writes into a source file of the build.

#pragma once

#include <vector>

namespace cuda {

struct Source {
  /** As an #include has it. */
  const char* name;
  const char* text;
};

/** What NVRTC compiles, a program each. */
extern const std::vector<Source> PROGRAMS;
extern const std::vector<Source> HEADERS;

}  // namespace cuda
