// Runs our CUDA kernels on the processor and compares what they compute with ATen, or with loops: for machines without a
// GPU. `node scripts/native/emulate.mjs` builds and starts it; it takes nothing, and exits with 1 where a check fails.

#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>

#include "check.h"
#include "garbage.h"

int main() {
  fillWithGarbage();
  at::manual_seed(1);
  const c10::InferenceMode inference;
  checkAssembly();
  checkBatchNorm();
  checkAllGather();
  checkLoss();
  checkUpdate();
  checkCompletion();
  return summarise();
}
