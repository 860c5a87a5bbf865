// The statistics of batch norms over the passes of all workers, by ATen, on any device. What a worker gives is a row: two
// sums by channel and the number of values that they are of.

#pragma once

#include <ATen/core/Tensor.h>

#include "replica.h"

/** By channel, float64: of one pass, or of the passes of all workers. */
struct Moments {
  at::Tensor mean;
  /** Squared deviations from the mean, added up. */
  at::Tensor deviations;
  /** Of how many values; of no dimension. */
  at::Tensor count;
};

/** Of a map; all 0 of an empty one. */
Moments momentsOf(const at::Tensor& map);

/** As Chan, Golub and LeVeque 1979 add them up, for any number of parts, at least one of which has values. */
Moments momentsOfAll(const AllGather& allGather, const Moments& own);

/** Of the backward pass, by channel, float64: of the gradient, of its product with what was normalised less its mean. */
struct GradientSums {
  at::Tensor gradient;
  at::Tensor product;
  at::Tensor count;
};

GradientSums gradientSumsOfAll(const AllGather& allGather, const GradientSums& own);
