#include "layer.h"

#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>

namespace {

constexpr int64_t ALIGNMENT = 16;

int64_t roundUp(int64_t value) { return (value + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

}  // namespace

Layer::Layer(int64_t channels, bool relu, bool residual, bool aligned) : step{} {
  const int64_t start = aligned ? ALIGNMENT : 1;
  const auto room = roundUp(channels);
  step.op = Op::batchNorm;
  step.name = "norm";
  step.inputs = residual ? std::vector{1, 2} : std::vector{1};
  step.weight = Parameter{start, channels, {channels}};
  step.bias = Parameter{start + room, channels, {channels}};
  step.statisticsOffset = start;
  step.epsilon = 1e-3;
  step.momentum = 0.1;
  step.relu = relu;
  const auto length = start + 2 * room;
  vectors.parameters = at::randn({length}, at::kFloat);
  // What a bfloat16 rounds to 0: the ReLU of such maps lets nothing pass there.
  if (channels > 8) {
    vectors.parameters[step.weight->offset] = 0;
    vectors.parameters[step.bias->offset] = 0x1p-134;
  }
  vectors.gradient = at::randn({length}, at::kFloat);
  vectors.statistics = at::rand({length}, at::kFloat).add_(0.5);
}

Vectors Layer::copy(at::ScalarType type) const {
  const auto copied = [&](const at::Tensor& vector) { return vector.to(type, false, true); };
  return {.parameters = copied(vectors.parameters),
          .gradient = copied(vectors.gradient),
          .statistics = copied(vectors.statistics)};
}

at::Tensor randomMap(at::IntArrayRef shape, at::ScalarType type, double mean) {
  return at::randn(shape, at::kFloat).add_(mean).to(type).contiguous(at::MemoryFormat::ChannelsLast);
}
