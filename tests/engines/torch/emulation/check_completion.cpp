// When a replica says that gradients are complete, which is when they are sent to the others: not before they are, and in
// the same order among its gathers whether or not it has samples. By ATen and our kernels for processors.

#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "check.h"
#include "cuda/stream.h"
#include "kernels/kernels.h"
#include "replica.h"

const Kernels& kernels() { return baseline::kernels; }

namespace cuda {

void synchronise() {}

}  // namespace cuda

namespace {

constexpr int64_t CHANNELS = 16;
constexpr int64_t CLASSES = 10;
constexpr int64_t SPLIT = 16;

struct Network {
  Plan plan{};
  int64_t parameters = 0;
  int64_t statistics = 0;

  Parameter parameter(const std::vector<int64_t>& shape) {
    const auto size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    const auto offset = parameters;
    parameters += (size + 15) / 16 * 16;
    return {offset, size, shape};
  }

  Step& step(Op op, const std::string& name, const std::vector<int>& inputs, const std::vector<int64_t>& shape) {
    auto& step = plan.steps.emplace_back();
    step.op = op;
    step.name = name;
    step.inputs = inputs;
    step.output = static_cast<int>(plan.steps.size());
    step.shape = shape;
    step.layer = -1;
    step.kernel = step.stride = 1;
    return step;
  }

  void convolution(const std::string& name, int input, const Parameter& weight) {
    auto& added = step(Op::conv2d, name, {input}, {IMAGE_SIZE, IMAGE_SIZE, CHANNELS});
    added.weight = weight;
    added.kernel = weight.shape[2];
    added.padding = added.kernel / 2;
  }

  void norm(const std::string& name, const std::vector<int>& inputs, const Parameter& gamma, const Parameter& beta) {
    auto& added = step(Op::batchNorm, name, inputs, {IMAGE_SIZE, IMAGE_SIZE, CHANNELS});
    added.weight = gamma;
    added.bias = beta;
    added.epsilon = 1e-5;
    added.momentum = 0.1;
    added.relu = true;
    added.statisticsOffset = statistics;
    statistics += 2 * CHANNELS;
  }

  /** A block with a shortcut that runs before the block's last batch norm, and lies behind it. */
  Network() {
    convolution("conv1", 0, parameter({CHANNELS, IMAGE_CHANNELS, 3, 3}));
    norm("norm1", {1}, parameter({CHANNELS}), parameter({CHANNELS}));
    convolution("conv2", 2, parameter({CHANNELS, CHANNELS, 3, 3}));
    const auto gamma = parameter({CHANNELS});
    const auto beta = parameter({CHANNELS});
    convolution("shortcut", 2, parameter({CHANNELS, CHANNELS, 1, 1}));
    norm("norm2", {3, 4}, gamma, beta);
    auto& pool = step(Op::averagePool, "pool", {5}, {1, 1, CHANNELS});
    pool.kernel = pool.stride = IMAGE_SIZE;
    step(Op::flatten, "flatten", {6}, {CHANNELS});
    auto& linear = step(Op::linear, "linear", {7}, {CLASSES});
    linear.weight = parameter({CLASSES, CHANNELS});
    linear.bias = parameter({CLASSES});
    step(Op::softmaxCrossEntropy, "loss", {8}, {});
    plan.values = static_cast<int>(plan.steps.size()) + 1;
    plan.classes = CLASSES;
    // Kept until the next pass.
    plan.afterForward = plan.afterBackward = plan.afterEvaluation = Freed(plan.steps.size());
  }
};

/** What a gradient call of passes of these sizes did in which order; checks that what it calls complete is. */
std::vector<std::string> eventsOf(Check& check, const std::vector<int64_t>& sizes) {
  const Network network;
  const auto& steps = network.plan.steps;
  std::vector<std::string> events;
  // By their order, from the last step to the first.
  std::vector<at::Tensor> behind;
  const auto gradient = at::zeros({network.parameters}, at::kFloat);
  const Vectors vectors{
      .parameters = at::randn({network.parameters}, at::kFloat).mul_(0.2),
      .gradient = gradient,
      .statistics = at::zeros({network.statistics}, at::kFloat),
      .allGather =
          [&](const at::Tensor& own) {
            events.push_back("gather");
            return own.reshape({1, -1});
          },
  };
  const ReplicaOptions options{.completed = [&](size_t position) {
    events.push_back(steps[position].name);
    behind.push_back(gradient.clone());
  }};
  Replica replica(network.plan, vectors, {{0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}}, options);

  const auto images = at::randint(256, {SPLIT, IMAGE_PIXELS}, at::kByte);
  const auto labels = at::randint(CLASSES, {SPLIT}, at::kByte);
  std::vector<uint32_t> indices(SPLIT);
  std::iota(indices.begin(), indices.end(), 0);
  std::vector<Batch> passes;
  for (int64_t first = 0; const auto size : sizes) {
    passes.push_back({.images = images.data_ptr<uint8_t>(),
                      .labels = labels.data_ptr<uint8_t>(),
                      .splitSize = SPLIT,
                      .indices = indices.data() + first,
                      .size = size,
                      .top = nullptr,
                      .left = nullptr,
                      .flip = nullptr});
    first += size;
  }
  replica.gradient(passes, SPLIT, nullptr);

  check.holds("each step but the loss once", behind.size() + 1 == steps.size());
  for (size_t i = 0; i < behind.size(); i++) {
    const auto last = behind.size() - 1 - i;
    for (size_t position = last; position < steps.size(); position++) {
      for (const auto* parameter : {&steps[position].weight, &steps[position].bias}) {
        if (!*parameter) continue;
        const auto& [offset, size, shape] = **parameter;
        check.same("gradient of " + steps[position].name + " behind " + steps[last].name,
                   behind[i].narrow(0, offset, size), gradient.narrow(0, offset, size));
      }
    }
  }
  // Else a replica that says it too early would pass.
  if (sizes.back() > 0) check.holds("the first step's comes last", !behind[behind.size() - 2].equal(gradient));
  return events;
}

}  // namespace

void checkCompletion() {
  check("gradients that are complete, with and without samples", [](Check& check) {
    const auto both = eventsOf(check, {8, 8});
    // Two batch norms, forward and backward, in each of two passes.
    check.holds("gathers", std::count(both.begin(), both.end(), "gather") == 8);
    check.holds("the last to be completed", both.back() == "conv1");
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{8, 0}, {0, 8}, {0, 0}}) {
      check.holds("the same order without samples", eventsOf(check, sizes) == both);
    }
  });
}
