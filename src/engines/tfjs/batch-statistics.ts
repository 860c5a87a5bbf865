// What batch norms sum up per channel, of one pass or of the passes of all workers: how these tell each other, and add up.

import type { AllGather } from '../engine.ts';

/** What the backward step needs of the forward step. */
export interface BatchStatistics {
  readonly mean: Float64Array;
  /** Biased: the mean of squared deviations. */
  readonly variance: Float64Array;
  /** Samples times positions. */
  readonly count: number;
}

/** Of the gradient dy of a batch norm's output, and of its product with x - mean. */
export interface GradientSums {
  readonly gradient: Float64Array;
  readonly product: Float64Array;
  readonly count: number;
}

/** A worker's part: per channel, mean and sum of squared deviations from it, or gradient sums; of so many values. */
type Part = readonly [first: Float64Array, second: Float64Array, count: number];

/** Of all workers, by rank. */
function gather(allGather: AllGather, [first, second, count]: Part): readonly Part[] {
  const channels = first.length;
  const rows = allGather(Float64Array.of(...first, ...second, count));
  const length = 2 * channels + 1;
  return Array.from({ length: rows.length / length }, (_, rank) => {
    const row = rows.slice(rank * length, (rank + 1) * length);
    return [row.subarray(0, channels), row.subarray(channels, 2 * channels), row[2 * channels]];
  });
}

/** As Chan, Golub and LeVeque 1979 add them up, for any number of parts, at least one of which has values. */
export function statisticsOfAll(allGather: AllGather, own: BatchStatistics): BatchStatistics {
  const deviations = own.variance.map((variance) => variance * own.count);
  const parts = gather(allGather, [own.mean, deviations, own.count]);
  const count = parts.reduce((sum, part) => sum + part[2], 0);
  const meanOf = (sum: (part: Part, channel: number) => number) =>
    own.mean.map((_, c) => parts.reduce((total, part) => total + sum(part, c), 0) / count);
  const mean = meanOf(([means, , values], c) => values * means[c]);
  const variance = meanOf(([means, squares, values], c) => squares[c] + values * (means[c] - mean[c]) ** 2);
  return { mean, variance, count };
}

export function gradientSumsOfAll(allGather: AllGather, own: GradientSums): GradientSums {
  const parts = gather(allGather, [own.gradient, own.product, own.count]);
  const total = (position: 0 | 1) =>
    own.gradient.map((_, c) => parts.reduce((sum, part) => sum + part[position][c], 0));
  return { gradient: total(0), product: total(1), count: parts.reduce((sum, part) => sum + part[2], 0) };
}
