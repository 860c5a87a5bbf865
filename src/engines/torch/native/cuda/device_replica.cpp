#include "device_replica.h"

#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/Exceptions.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "kernels.h"
#include "module.h"
#include "pinned.h"
#include "stream.h"

namespace cuda {
namespace {

/** Bytes of a block in front of its samples: the input of the step. */
constexpr int64_t HEADER = 64;
static_assert(sizeof(StepInput) <= HEADER);
/** Of a sample: index, top, left, flip. */
constexpr int64_t SAMPLE = sizeof(uint32_t) + 3;

/** Graphs are recorded and dropped by one thread at a time: they share the allocator's and the generator's state. */
std::mutex captures;

/**
 * Steps in flight at most: so many that the device never waits for the host, but few kernels, since behind some thousands
 * a launch waits for the device. A step of the plan makes about five kernels.
 */
size_t windowFor(const Plan& plan) {
  constexpr size_t MOST_PLAN_STEPS = 400;
  return std::clamp<size_t>(MOST_PLAN_STEPS / plan.steps.size(), 2, 8);
}

template <typename T>
T* pointer(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

at::Tensor pinned(int64_t bytes) { return at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(true)).zero_(); }

int64_t samplesOf(const std::vector<Batch>& passes) {
  return std::accumulate(passes.begin(), passes.end(), int64_t{0}, [](auto sum, auto& pass) { return sum + pass.size; });
}

void copyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  C10_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, kind, c10::cuda::getCurrentCUDAStream()));
}

template <typename T>
at::Tensor toDevice(const std::vector<T>& values, int device) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
  return at::from_blob(const_cast<T*>(values.data()), {bytes}, at::kByte)
      .to(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
}

}  // namespace

DeviceReplica::DeviceReplica(Plan plan, const Normalisation& normalisation, DeviceOptions options)
    : options_(std::move(options)),
      plan_(std::move(plan)),
      lease_(options_.device),
      stream_(lease_.stream()),
      replica_([&] {
        const c10::cuda::CUDAStreamGuard guard(stream_);
        const auto vector = [&](int64_t length) { return at::zeros({length}, on(at::kFloat)); };
        weights_ = vector(options_.parameters);
        velocity_ = vector(options_.parameters);
        gradient_ = vector(options_.parameters);
        statistics_ = vector(options_.statistics);
        statisticsBefore_ = vector(options_.statistics);
        if (options_.accumulates) {
          S_ = vector(options_.shardEnd - options_.shardStart);
          A_ = vector(options_.shardEnd - options_.shardStart);
        }
        operands_ = options_.bfloat16 ? at::zeros({options_.parameters}, on(at::kBFloat16)) : weights_;
        const Vectors vectors{
            .parameters = weights_,
            .gradient = gradient_,
            .statistics = statistics_,
            .operands = operands_,
            .counters = at::zeros({COUNTERS}, on(at::kInt)),
            .allGather = allGather(),
        };
        auto replica = options_.replica;
        replica.completed = [this](size_t position) { reduceBehind(static_cast<int64_t>(position)); };
        return Replica(plan_, vectors, normalisation, replica);
      }()),
      pool_(at::cuda::graph_pool_handle()) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  loadKernels();
  block_ = blockFor(options_.capacity);
  makeChunks();
  const auto tensors = static_cast<int64_t>(options_.tensors.size());
  factors_ = at::zeros({tensors * static_cast<int64_t>(sizeof(TensorFactors))}, on(at::kByte));
  scales_ = at::zeros({tensors * static_cast<int64_t>(sizeof(TensorScales))}, on(at::kByte));
  gradientNorms_ = at::zeros({tensors}, on(at::kDouble));
  weightNorms_ = at::zeros({tensors}, on(at::kDouble));
  nonFinite_ = at::zeros({1}, on(at::kInt));
  totals_ = at::zeros({static_cast<int64_t>(sizeof(StepTotals))}, on(at::kByte));
  slots_ = std::vector<Slot>(windowFor(plan_));
  for (auto& slot : slots_) {
    slot.input = pinned(HEADER + SAMPLE * options_.capacity);
    slot.totals = pinned(sizeof(StepTotals));
  }
  synchronise();
}

DeviceReplica::~DeviceReplica() {
  try {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    synchronise();
    if (group_) group_->synchronise();
    forget();
    group_.reset();
  } catch (...) {
    // A device in error has nothing left to tidy up.
  }
}

at::TensorOptions DeviceReplica::on(at::ScalarType type) const {
  return at::TensorOptions(type).device(at::kCUDA, static_cast<c10::DeviceIndex>(options_.device));
}

DeviceReplica::Block DeviceReplica::blockFor(int64_t capacity) const {
  return {at::empty({HEADER + SAMPLE * capacity}, on(at::kByte)), capacity};
}

void DeviceReplica::makeChunks() {
  std::vector<Chunk> chunks;
  std::vector<int32_t> firsts = {0};
  for (size_t tensor = 0; tensor < options_.tensors.size(); tensor++) {
    const auto& [offset, size, adaptive] = options_.tensors[tensor];
    for (int64_t start = 0; start < size; start += CHUNK) {
      const auto length = static_cast<int32_t>(std::min<int64_t>(CHUNK, size - start));
      chunks.push_back({offset + start, length, static_cast<int32_t>(tensor)});
    }
    firsts.push_back(static_cast<int32_t>(chunks.size()));
  }
  chunkCount_ = static_cast<int>(chunks.size());
  chunks_ = toDevice(chunks, options_.device);
  firsts_ = toDevice(firsts, options_.device);
  partial_ = at::empty({4 * chunkCount_}, on(at::kDouble));
}

Chunks DeviceReplica::chunks() const {
  return {pointer<Chunk>(chunks_), chunkCount_, pointer<int32_t>(firsts_), static_cast<int>(options_.tensors.size()),
          pointer<double>(partial_)};
}

float* DeviceReplica::fromShard(const at::Tensor& vector) const {
  return options_.accumulates ? pointer<float>(vector) - options_.shardStart : nullptr;
}

void DeviceReplica::refreshOperands() {
  if (options_.bfloat16) operands_.copy_(weights_);
}

void DeviceReplica::upload(at::Tensor& vector, const float* values) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  copyAsync(vector.data_ptr(), values, vector.nbytes(), cudaMemcpyHostToDevice);
  synchronise();
}

void DeviceReplica::download(const at::Tensor& vector, float* values) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  copyAsync(values, vector.data_ptr(), vector.nbytes(), cudaMemcpyDeviceToHost);
  synchronise();
}

void DeviceReplica::uploadWeights(const float* values) {
  upload(weights_, values);
  const c10::cuda::CUDAStreamGuard guard(stream_);
  refreshOperands();
}

void DeviceReplica::uploadVelocity(const float* values) { upload(velocity_, values); }
void DeviceReplica::uploadStatistics(const float* values) { upload(statistics_, values); }
void DeviceReplica::uploadS(const float* values) { upload(S_, values); }
void DeviceReplica::uploadA(const float* values) { upload(A_, values); }
void DeviceReplica::downloadWeights(float* values) { download(weights_, values); }
void DeviceReplica::downloadVelocity(float* values) { download(velocity_, values); }
void DeviceReplica::downloadStatistics(float* values) { download(statistics_, values); }
void DeviceReplica::downloadS(float* values) { download(S_, values); }
void DeviceReplica::downloadA(float* values) { download(A_, values); }
void DeviceReplica::downloadGradient(float* values) { download(gradient_, values); }

void DeviceReplica::join(const GroupId& id, int rank, int worldSize) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  group_ = std::make_unique<Group>(id, rank, worldSize);
}

void DeviceReplica::abandon() {
  if (!group_) return;
  const c10::cuda::CUDAStreamGuard guard(stream_);
  // NCCL does not end before the graphs that hold its communicator do, which wait for what it ends.
  std::thread end([this] {
    const c10::cuda::CUDAGuard device(static_cast<c10::DeviceIndex>(options_.device));
    group_->abort();
  });
  try {
    synchronise();
    group_->synchronise();
  } catch (...) {
    // What was cut off may say so.
  }
  try {
    forget();
  } catch (...) {
    // Likewise.
  }
  end.join();
}

void DeviceReplica::forget() {
  const std::lock_guard lock(captures);
  graphs_.clear();
  pool_ = at::cuda::graph_pool_handle();
}

const DeviceReplica::Split& DeviceReplica::split(const Batch& batch) {
  auto found = splits_.find(batch.images);
  if (found == splits_.end()) {
    const auto copy = [&](const uint8_t* bytes, int64_t count) {
      auto copied = at::empty({count}, on(at::kByte));
      copyAsync(copied.data_ptr(), bytes, static_cast<size_t>(count), cudaMemcpyHostToDevice);
      return copied;
    };
    Split uploaded{copy(batch.images, batch.splitSize * IMAGE_PIXELS), copy(batch.labels, batch.splitSize)};
    synchronise();
    found = splits_.emplace(batch.images, std::move(uploaded)).first;
  }
  return found->second;
}

std::vector<Batch> DeviceReplica::place(const std::vector<Batch>& passes, const StepInput& input, const Block& block,
                                        uint8_t* host) {
  std::memcpy(host, &input, sizeof(input));
  auto* device = pointer<uint8_t>(block.device);
  int64_t position = 0;
  // Four arrays of the block's capacity each.
  const auto put = [&](const auto* values, int64_t column, int64_t size) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
    if (values == nullptr) return static_cast<const T*>(nullptr);
    const auto at = HEADER + column * block.capacity + position * static_cast<int64_t>(sizeof(T));
    std::memcpy(host + at, values, static_cast<size_t>(size) * sizeof(T));
    return static_cast<const T*>(static_cast<const void*>(device + at));
  };
  std::vector<Batch> placed;
  for (const auto& pass : passes) {
    const auto& [images, labels] = split(pass);
    auto there = pass;
    there.images = pointer<uint8_t>(images);
    there.labels = pointer<uint8_t>(labels);
    there.indices = put(pass.indices, 0, pass.size);
    there.top = put(pass.top, 4, pass.size);
    there.left = put(pass.left, 5, pass.size);
    there.flip = put(pass.flip, 6, pass.size);
    position += pass.size;
    placed.push_back(there);
  }
  return placed;
}

std::vector<Batch> DeviceReplica::uploadSamples(const std::vector<Batch>& passes) {
  const auto samples = samplesOf(passes);
  if (samples > growing_.capacity || !growingHost_.defined()) {
    growing_ = blockFor(samples);
    growingHost_ = pinned(growing_.device.numel());
  }
  auto placed = place(passes, {}, growing_, pointer<uint8_t>(growingHost_));
  copyAsync(growing_.device.data_ptr(), growingHost_.data_ptr(), growingHost_.nbytes(), cudaMemcpyHostToDevice);
  return placed;
}

void DeviceReplica::uploadFrom(const HostVectors& host) {
  copyToDevice(weights_.data_ptr(), host.weights, weights_.nbytes());
  copyAsync(statistics_.data_ptr(), host.statistics, statistics_.nbytes(), cudaMemcpyHostToDevice);
  refreshOperands();
}

PassResult DeviceReplica::resultOf(int64_t samples) {
  if (samples == 0) return {};
  const auto values = replica_.samples().cpu();
  const auto* losses = values.data_ptr<float>();
  PassResult result;
  result.lossSum = std::accumulate(losses, losses + samples, 0.0);
  result.correct = static_cast<int64_t>(std::accumulate(losses + samples, losses + 2 * samples, 0.0));
  return result;
}

PassResult DeviceReplica::gradient(const HostVectors& host, const std::vector<Batch>& passes, int64_t batchSize,
                                   const double* factors) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  uploadFrom(host);
  replica_.gradient(uploadSamples(passes), batchSize, factors);
  copyToHost(host.gradient, gradient_.data_ptr(), gradient_.nbytes());
  copyAsync(host.statistics, statistics_.data_ptr(), statistics_.nbytes(), cudaMemcpyDeviceToHost);
  const auto result = resultOf(samplesOf(passes));
  synchronise();
  return result;
}

PassResult DeviceReplica::evaluate(const HostVectors& host, const Batch& batch, int32_t* predictions) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  uploadFrom(host);
  const auto result = evaluate(batch, predictions);
  synchronise();
  return result;
}

PassResult DeviceReplica::evaluate(const Batch& batch, int32_t* predictions) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  if (batch.size == 0) return {};
  const auto found = at::empty({batch.size}, on(at::kInt));
  replica_.evaluate(uploadSamples({batch}).front(), pointer<int32_t>(found));
  copyAsync(predictions, found.data_ptr(), found.nbytes(), cudaMemcpyDeviceToHost);
  return resultOf(batch.size);
}

void DeviceReplica::begin(std::span<const double> factors, std::vector<double> backpropagated,
                          std::optional<StepTotals> carried) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  std::vector<TensorFactors> tensors;
  for (size_t i = 0; i < options_.tensors.size(); i++) {
    tensors.push_back({
        .gradientFactor = factors[2 * i],
        .rateFactor = factors[2 * i + 1],
        .adaptive = options_.tensors[i].adaptive,
        .reserved = 0,
    });
  }
  // Waits for the steps in flight, which write their slots.
  StepTotals cleared{};
  cleared.skippedInARow = totals().skippedInARow;
  const auto start = carried.value_or(cleared);
  copyAsync(totals_.data_ptr(), &start, sizeof(start), cudaMemcpyHostToDevice);
  copyAsync(factors_.data_ptr(), tensors.data(), factors_.nbytes(), cudaMemcpyHostToDevice);
  synchronise();
  for (auto& slot : slots_) std::memcpy(slot.totals.data_ptr(), &start, sizeof(start));
  waited_ = 0;
  backpropagated_ = std::move(backpropagated);
}

StepTotals DeviceReplica::step(const std::vector<Batch>& passes, int64_t samples, const StepInput& input, bool first,
                               StepMode mode) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  auto& slot = slots_[launched_ % slots_.size()];
  const auto began = std::chrono::steady_clock::now();
  slot.done.synchronize();
  waited_ += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  StepTotals before;
  std::memcpy(&before, slot.totals.data_ptr(), sizeof(before));

  auto* host = pointer<uint8_t>(slot.input);
  if (samplesOf(passes) > block_.capacity) {
    throw std::out_of_range("passes: expected at most " + std::to_string(block_.capacity) + " samples, got " +
                            std::to_string(samplesOf(passes)));
  }
  const auto placed = place(passes, input, block_, host);
  copyAsync(block_.device.data_ptr(), host, slot.input.nbytes(), cudaMemcpyHostToDevice);
  std::vector<int64_t> form = {samples};
  for (const auto& pass : placed) {
    form.insert(form.end(), {pass.size, reinterpret_cast<int64_t>(pass.images), pass.top != nullptr});
  }
  if (mode == StepMode::capture) {
    capture(form, placed, samples);
    return before;
  }
  if (mode == StepMode::rehearse) {
    rehearse(placed, samples);
    return before;
  }
  if (first && options_.accumulates) {
    S_.zero_();
    A_.zero_();
  }
  if (mode == StepMode::eager) {
    run(placed, samples);
  } else {
    const auto recorded = graphs_.find(form);
    if (recorded == graphs_.end()) throw std::out_of_range("mode: expected eager, as no such step was recorded, got replay");
    recorded->second->replay();
  }
  copyAsync(slot.totals.data_ptr(), totals_.data_ptr(), sizeof(StepTotals), cudaMemcpyDeviceToHost);
  slot.done.record(stream_);
  launched_++;
  return before;
}

void DeviceReplica::capture(const std::vector<int64_t>& form, const std::vector<Batch>& passes, int64_t samples) {
  const std::lock_guard lock(captures);
  // What eager steps left in the allocator is not for graphs, which have memory of their own.
  synchronise();
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  graph->capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
  std::exception_ptr failure;
  try {
    run(passes, samples);
  } catch (...) {
    failure = std::current_exception();
  }
  try {
    graph->capture_end();
  } catch (...) {
    // The first error tells more.
    if (!failure) failure = std::current_exception();
    giveUp(std::move(graph));
  }
  if (failure) {
    (void)cudaGetLastError();
    std::rethrow_exception(failure);
  }
  graphs_[form] = std::move(graph);
}

void DeviceReplica::giveUp(std::unique_ptr<at::cuda::CUDAGraph> graph) {
  const auto device = static_cast<c10::DeviceIndex>(options_.device);
  try {
    // Where CUDA ends a recording with an error, libtorch leaves it at that: the allocator would keep what was recorded for
    // a graph that never comes.
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device, pool_);
    c10::cuda::CUDACachingAllocator::releasePool(device, pool_);
    if (graphs_.empty()) pool_ = at::cuda::graph_pool_handle();
    // Not freed: newer ones also have an allocator of pinned memory that goes on asking it.
    (void)graph.release();
  } catch (...) {
    // It had come so far; the rest is done by the graph itself.
  }
}

AllGather DeviceReplica::allGather() {
  if (options_.allGather) {
    return [this](const at::Tensor& own) { return options_.allGather(own.cpu()).to(own.device()); };
  }
  if (!options_.syncBatchNorm) return {};
  return [this](const at::Tensor& own) {
    if (together_) return group_->gather(own);
    // A rehearsal takes the memory that the step will.
    return own.reshape({1, -1}).repeat({group_ ? group_->worldSize() : 1, 1});
  };
}

void DeviceReplica::reduceBehind(int64_t position) {
  if (!together_) return;
  for (; reduced_ < options_.slices.size() && options_.slices[reduced_].step >= position; reduced_++) {
    const auto& [step, start, end] = options_.slices[reduced_];
    group_->sum(gradient_.narrow(0, start, end - start));
  }
}

template <typename Body>
void DeviceReplica::together(Body body) {
  if (!group_) return body();
  together_ = true;
  reduced_ = 0;
  try {
    body();
  } catch (...) {
    together_ = false;
    try {
      group_->join();
    } catch (...) {
      // The first error tells more.
    }
    throw;
  }
  together_ = false;
  group_->join();
}

void DeviceReplica::sweep(const std::vector<Batch>& passes, int64_t samples) {
  replica_.gradient(passes, samples, backpropagated_.empty() ? nullptr : backpropagated_.data());
}

void DeviceReplica::rehearse(const std::vector<Batch>& passes, int64_t samples) {
  copyAsync(statisticsBefore_.data_ptr(), statistics_.data_ptr(), statistics_.nbytes(), cudaMemcpyDeviceToDevice);
  sweep(passes, samples);
  copyAsync(statistics_.data_ptr(), statisticsBefore_.data_ptr(), statistics_.nbytes(), cudaMemcpyDeviceToDevice);
  synchronise();
}

void DeviceReplica::run(const std::vector<Batch>& passes, int64_t samples) {
  const auto* input = pointer<StepInput>(block_.device);
  auto* nonFinite = pointer<int32_t>(nonFinite_);
  C10_CUDA_CHECK(cudaMemsetAsync(nonFinite, 0, sizeof(int32_t), c10::cuda::getCurrentCUDAStream()));
  // A step that is skipped puts them back.
  copyAsync(statisticsBefore_.data_ptr(), statistics_.data_ptr(), statistics_.nbytes(), cudaMemcpyDeviceToDevice);
  const auto own = samplesOf(passes);
  together([&] {
    sweep(passes, samples);
    // Where the last pass was not swept, nothing is on its way as yet.
    reduceBehind(0);
    // Beside the last slice.
    checkFinite(pointer<float>(statistics_), statistics_.numel(), nonFinite);
    checkLosses(pointer<float>(replica_.samples()), own, nonFinite);
  });
  checkFinite(pointer<float>(gradient_), gradient_.numel(), nonFinite);
  if (group_) together([&] { group_->maximum(nonFinite_); });

  const auto& update = options_.update;
  if (update.clipNorm > 0 || update.trust > 0) squaredNorms(pointer<float>(gradient_), chunks(), pointer<double>(gradientNorms_));
  if (update.trust > 0) squaredNorms(pointer<float>(weights_), chunks(), pointer<double>(weightNorms_));
  computeScales(input, pointer<TensorFactors>(factors_),
                {update.weightDecay, update.clipNorm, update.trust, update.epsilon},
                pointer<double>(gradientNorms_), pointer<double>(weightNorms_), static_cast<int>(options_.tensors.size()),
                pointer<TensorScales>(scales_));
  updateParameters(
      {
          .weights = pointer<float>(weights_),
          .velocity = pointer<float>(velocity_),
          .gradient = pointer<float>(gradient_),
          .S = fromShard(S_),
          .A = fromShard(A_),
          .operands = options_.bfloat16 ? pointer<uint16_t>(operands_) : nullptr,
          .shardStart = options_.shardStart,
          .shardEnd = options_.shardEnd,
          .momentum = static_cast<float>(update.momentum),
          .measuredDecay = static_cast<float>(update.measureWeightDecay ? update.weightDecay : 0),
          .nesterov = update.nesterov,
      },
      chunks(), input, pointer<TensorScales>(scales_), nonFinite);
  const auto* losses = pointer<float>(replica_.samples());
  finishStep(losses, losses + own, own, nonFinite, pointer<float>(statistics_), pointer<float>(statisticsBefore_),
             statistics_.numel(), pointer<StepTotals>(totals_));
}

StepTotals DeviceReplica::totals() {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  StepTotals totals;
  copyAsync(&totals, totals_.data_ptr(), sizeof(totals), cudaMemcpyDeviceToHost);
  synchronise();
  return totals;
}

std::vector<double> DeviceReplica::measure() {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  std::vector<double> sums(4 * options_.tensors.size());
  if (!options_.accumulates) return sums;
  directionSums(fromShard(S_), fromShard(A_), chunks(), options_.shardStart, options_.shardEnd,
                pointer<double>(partial_));
  const auto partial = partial_.cpu();
  const auto firsts = firsts_.cpu();
  const auto* numbers = partial.data_ptr<double>();
  const auto* first = pointer<int32_t>(firsts);
  for (size_t tensor = 0; tensor < options_.tensors.size(); tensor++) {
    for (auto chunk = first[tensor]; chunk < first[tensor + 1]; chunk++) {
      for (int k = 0; k < 4; k++) sums[4 * tensor + k] += numbers[4 * chunk + k];
    }
  }
  return sums;
}

}  // namespace cuda
