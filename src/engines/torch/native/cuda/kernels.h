// Our own CUDA kernels, each behind a function that launches it on the current stream and waits for nothing. Sources
// are in kernels/*.cu, compiled by NVRTC when the first replica of a process is made (module.h). All of them are
// deterministic: no sum depends on the order in which blocks end. Callers hold a device guard and a stream guard. A
// graph can capture all of them, on a thread that called loadKernels() and launched each once before.

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "../batch.h"
#include "../loss.h"
#include "../plan.h"
#include "../replica.h"
#include "layout.h"

namespace cuda {

/**
 * Images [batch.size, 3, 32, 32] in channels_last order, of type float32 or bfloat16: gathered, cropped, flipped,
 * normalised. Pointers of `batch` are on the device, batch.images at a multiple of 16. `table`: PixelTable, float32
 * [3, 256].
 */
at::Tensor assemble(const Batch& batch, const at::Tensor& table, at::ScalarType type);

// Batch norm, addition and ReLU, as fused_batch_norm.h has them for CPUs, for maps of float32 or bfloat16 in
// channels_last order; parameters, statistics and gradients of parameters are float32. Where vectors.allGather is set, the
// statistics of a training pass, and the means in dx, are over the maps of all workers, each of which gives its own sums
// once a call, for an empty map too; what goes to the gradient of gamma and beta is of the own map alone, and nothing of
// an empty one.

bool batchNormServes(const at::Tensor& x);

/** relu(batchNorm(x) + residual), as far as the step has them; saves the statistics, and mixes the running ones. */
at::Tensor normalise(const Step& step, const at::Tensor& x, const at::Tensor& residual, const Vectors& vectors,
                     Saved& saved);
at::Tensor normaliseWithRunning(const Step& step, const at::Tensor& x, const at::Tensor& residual,
                                const Vectors& vectors);
/** The output of a training pass without a residual once more, from what it saved. */
at::Tensor normaliseAgain(const Step& step, const at::Tensor& x, const Vectors& vectors, const Saved& saved);
/**
 * dx; writes (or, where vectors.accumulates, adds to) the gradient of gamma and beta. Where a residual was added, `y`
 * is the step's output, and dy is overwritten by what passes through the ReLU: the gradient of the residual. Without
 * one, y is undefined, and dx may take the memory of dy. `factor` multiplies what goes on into the batch norm.
 */
at::Tensor normaliseBackward(const Step& step, const at::Tensor& x, const at::Tensor& y, at::Tensor& dy, double factor,
                             const Vectors& vectors, const Saved& saved);

/**
 * Gradient of options.weight * the sum of the losses, of the type of the logits [samples, classes]; arithmetic in
 * float32. Writes each sample's loss and whether its prediction is right (1 or 0) to `losses` and `hits`, float32
 * [samples], on the device.
 */
at::Tensor softmaxCrossEntropy(const at::Tensor& logits, const Batch& batch, const LossOptions& options, float* losses,
                               float* hits);

/** Without gradient and smoothing; `predictions` [samples]: class of the largest logit, -1 where none is a number. */
void classify(const at::Tensor& logits, const Batch& batch, float* losses, float* hits, int32_t* predictions);

// The update of the flat vectors, float32, in chunks that no two tensors share.

/** Sums of squares by tensor, always added up in the same order; norms: double [tensors]. */
void squaredNorms(const float* vector, const Chunks& chunks, double* norms);

/** Sets *nonFinite to 1 where any number of the vector is NaN or infinite; else leaves it as it is. */
void checkFinite(const float* vector, int64_t length, int32_t* nonFinite);

/**
 * From what the step is told and (where clipping or LARS is on) the norms of the reduced gradient and (LARS) of the
 * weights, else null, to what each tensor is scaled by; see localRates in src/training/lars.ts and clipFactor in
 * src/training/update.ts.
 */
void computeScales(const StepInput* input, const TensorFactors* factors, const ScaleOptions& options,
                   const double* gradientNorms, const double* weightNorms, int tensors, TensorScales* scales);

/**
 * RunUpdate of src/engines/engine.ts, the same bits as kernels/update.cpp: every operation in float32, rounded by
 * itself. Nothing is written where *nonFinite is set. Where input->analysed is, S and A are accumulated within
 * [shardStart, shardEnd). `operands`: null, or bfloat16 copies of the weights, written along. All vectors begin at a
 * multiple of 16 bytes.
 */
void updateParameters(const UpdateArguments& arguments, const Chunks& chunks, const StepInput* input,
                      const TensorScales* scales, const int32_t* nonFinite);

/** Sets *nonFinite to 1 where any sample's loss is NaN or infinite: before the update, which is then skipped. */
void checkLosses(const float* losses, int64_t samples, int32_t* nonFinite);

/**
 * The last kernel of a step: adds the step's losses and hits to the totals, or, where *nonFinite is set, counts a
 * skipped step and puts the running statistics back; see StepTotals.
 */
void finishStep(const float* losses, const float* hits, int64_t samples, const int32_t* nonFinite, float* statistics,
                const float* statisticsBefore, int64_t statisticsLength, StepTotals* totals);

/**
 * What S and A sum up to within [start, end), by chunk: four doubles each, sum |S|, sum A, sum |S| / A, and the number
 * of weights whose A is not 0; see src/amplification/directionality.ts. Chunks outside give zeros.
 */
void directionSums(const float* S, const float* A, const Chunks& chunks, int64_t start, int64_t end, double* sums);

}  // namespace cuda
