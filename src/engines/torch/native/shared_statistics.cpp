#include "shared_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

namespace {

/** [workers, 2 * channels + 1]. */
at::Tensor rowsOfAll(const AllGather& allGather, const at::Tensor& first, const at::Tensor& second,
                     const at::Tensor& count) {
  return allGather(at::cat({first, second, count.view({1})}));
}

}  // namespace

Moments momentsOf(const at::Tensor& map) {
  const auto channels = map.size(1);
  const auto options = map.options().dtype(at::kDouble).memory_format(c10::nullopt);
  const auto count = at::scalar_tensor(static_cast<double>(map.numel() / channels), options);
  if (map.numel() == 0) return {at::zeros({channels}, options), at::zeros({channels}, options), count};
  const auto values = map.to(at::kDouble);
  const auto mean = values.mean(at::IntArrayRef{0, 2, 3});
  const auto deviations = (values - mean.view({1, -1, 1, 1})).square().sum(at::IntArrayRef{0, 2, 3});
  return {mean, deviations, count};
}

Moments momentsOfAll(const AllGather& allGather, const Moments& own) {
  const auto channels = own.mean.numel();
  const auto rows = rowsOfAll(allGather, own.mean, own.deviations, own.count);
  const auto means = rows.narrow(1, 0, channels);
  const auto counts = rows.narrow(1, 2 * channels, 1);
  const auto count = counts.sum();
  const auto mean = (counts * means).sum(0) / count;
  const auto between = counts * (means - mean).square();
  return {mean, (rows.narrow(1, channels, channels) + between).sum(0), count};
}

GradientSums gradientSumsOfAll(const AllGather& allGather, const GradientSums& own) {
  const auto channels = own.gradient.numel();
  const auto sums = rowsOfAll(allGather, own.gradient, own.product, own.count).sum(0);
  return {sums.narrow(0, 0, channels), sums.narrow(0, channels, channels), sums.select(0, 2 * channels)};
}
