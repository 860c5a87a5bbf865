// In place of this folder's other files where libtorch is without CUDA: no tensor is ever on a GPU then, and nothing here
// is ever called.

#include <stdexcept>

#include "../exports.h"
#include "kernels.h"
#include "stream.h"

namespace {

[[noreturn]] void absent() { throw std::logic_error("built without CUDA"); }

}  // namespace

namespace cuda {

void synchronise() { absent(); }

at::Tensor assemble(const Batch&, const at::Tensor&, at::ScalarType) { absent(); }

bool batchNormServes(const at::Tensor&) { return false; }

at::Tensor normalise(const Step&, const at::Tensor&, const at::Tensor&, const Vectors&, Saved&) { absent(); }

at::Tensor normaliseWithRunning(const Step&, const at::Tensor&, const at::Tensor&, const Vectors&) { absent(); }

at::Tensor normaliseAgain(const Step&, const at::Tensor&, const Vectors&, const Saved&) { absent(); }

at::Tensor normaliseBackward(const Step&, const at::Tensor&, const at::Tensor&, at::Tensor&, double, const Vectors&,
                             const Saved&) {
  absent();
}

at::Tensor softmaxCrossEntropy(const at::Tensor&, const Batch&, const LossOptions&, float*, float*) { absent(); }

void classify(const at::Tensor&, const Batch&, float*, float*, int32_t*) { absent(); }

}  // namespace cuda

void exportCuda(Napi::Env, Napi::Object) {}
