#include "instruction_set.h"

#include <cstdlib>
#include <string_view>

#include "kernels/kernels.h"

InstructionSet instructionSet() {
#if defined(__x86_64__)
  static const InstructionSet best = [] {
    // libtorch's variable for its own kernels: `default` or `avx2` where there would be more.
    const auto* variable = std::getenv("ATEN_CPU_CAPABILITY");
    const std::string_view wished = variable ? variable : "";
    __builtin_cpu_init();
    if (wished == "default") return InstructionSet::baseline;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    if (avx512 && wished != "avx2") return InstructionSet::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::avx2;
    return InstructionSet::baseline;
  }();
  return best;
#else
  return InstructionSet::baseline;
#endif
}

const char* nameOf(InstructionSet set) {
  switch (set) {
    case InstructionSet::avx512:
      return "avx512";
    case InstructionSet::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

const Kernels& kernels() {
  switch (instructionSet()) {
#if defined(__x86_64__)
    case InstructionSet::avx512:
      return avx512::kernels;
    case InstructionSet::avx2:
      return avx2::kernels;
#endif
    default:
      return baseline::kernels;
  }
}
