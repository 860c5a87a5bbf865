#include "kernels.h"

namespace GRADAMP_ISA {

extern const Kernels kernels = {
#define STRING(x) #x
#define NAME(x) STRING(x)
    NAME(GRADAMP_ISA), update, touch, squaredNorm, allFinite,
};

}  // namespace GRADAMP_ISA
