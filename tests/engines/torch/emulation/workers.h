// The workers of a run as threads of this process, each with an AllGather between them.

#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "replica.h"

class Workers {
 public:
  explicit Workers(int count) : given_(count) {}

  /** Calls body(rank, allGather) on a thread a worker; throws what one of them threw. */
  void run(const std::function<void(int rank, const AllGather& allGather)>& body);

 private:
  at::Tensor gather(int rank, const at::Tensor& own);

  std::mutex mutex_;
  std::condition_variable changed_;
  /** By rank, what is gathered now. */
  std::vector<at::Tensor> given_;
  size_t arrived_ = 0;
  int gathered_ = 0;
  at::Tensor all_;
  /** One of them has, by an exception or as it should: no more is gathered. */
  bool ended_ = false;
};
