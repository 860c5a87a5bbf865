#include "workers.h"

#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>

#include <exception>
#include <stdexcept>
#include <thread>

void Workers::run(const std::function<void(int, const AllGather&)>& body) {
  std::exception_ptr thrown;
  const auto work = [&](int rank) {
    const c10::InferenceMode inference;
    std::exception_ptr failure;
    try {
      body(rank, [&](const at::Tensor& own) { return gather(rank, own); });
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    if (!thrown) thrown = failure;
    ended_ = true;
    changed_.notify_all();
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < static_cast<int>(given_.size()); rank++) threads.emplace_back(work, rank);
  for (auto& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

at::Tensor Workers::gather(int rank, const at::Tensor& own) {
  if (own.scalar_type() != at::kDouble || own.dim() != 1) throw std::logic_error("expected a row of float64");
  std::unique_lock lock(mutex_);
  const auto turn = gathered_;
  given_[rank] = own;
  if (++arrived_ == given_.size()) {
    // Throws where they are of different lengths.
    all_ = at::stack(given_);
    arrived_ = 0;
    gathered_++;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return gathered_ > turn || ended_; });
  if (gathered_ == turn) throw std::runtime_error("expected all workers to gather, but one has ended");
  return all_;
}
