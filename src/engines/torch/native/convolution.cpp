#include "convolution.h"

#include "matrix_convolution.h"
#include "operations.h"
#include "winograd.h"

at::Tensor convolveFast(const Step& step, const at::Tensor& x, const at::Tensor& parameters) {
  if (winogradServes(step, x)) return winogradConvolve(step, x, parameters);
  if (matrixConvolutionServes(x)) return matrixConvolve(step, x, parameters);
  return convolve(step, x, parameters);
}

at::Tensor convolveFastBackward(const Step& step, const at::Tensor& x, const at::Tensor& dy, const Vectors& vectors,
                                bool wanted) {
  if (winogradServes(step, x)) {
    winogradWeightGradient(step, x, dy, vectors.gradient);
    return wanted ? winogradInputGradient(step, dy, vectors.parameters) : at::Tensor();
  }
  if (matrixConvolutionServes(x)) {
    matrixWeightGradient(step, x, dy, vectors.gradient);
    return wanted ? matrixInputGradient(step, x.sizes(), dy, vectors.parameters) : at::Tensor();
  }
  return convolveBackward(step, x, dy, vectors, wanted);
}
