// One check of our CUDA kernels: what it compares, and the line that it prints.

#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

class Check {
 public:
  /**
   * Throws where `got` differs from `want` by more than `tolerance` times the largest number of `want`; where `got` is
   * bfloat16, rounding may add to this.
   */
  void close(const std::string& what, const at::Tensor& got, const at::Tensor& want, double tolerance);

  /** Throws unless `got` has the type, the shape and the bits of `want`. */
  void same(const std::string& what, const at::Tensor& got, const at::Tensor& want);

  void holds(const std::string& what, bool condition);

  /** Throws unless these are the kernels that were launched since this was last asked. */
  void launched(const std::vector<std::string>& want);

  /**
   * What `body` computes from its own copies of what it changes, with the blocks and threads in order; throws unless it
   * is the same bits in reversed order.
   */
  std::vector<at::Tensor> inAnyOrder(const std::function<std::vector<at::Tensor>()>& body);

  int64_t comparisons() const { return comparisons_; }
  /** Of all that need only be close: by the largest number. */
  double largestDifference() const { return largestDifference_; }

 private:
  int64_t comparisons_ = 0;
  double largestDifference_ = 0;
};

/** Runs a check and prints a line of it. */
void check(const std::string& name, const std::function<void(Check&)>& body);

/** Of those that ran; exits with 1 where one failed. */
int summarise();

void checkAssembly();
void checkBatchNorm();
void checkAllGather();
void checkLoss();
void checkUpdate();
void checkCompletion();
