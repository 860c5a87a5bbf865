// Batch normalisation (Ioffe and Szegedy 2015): statistics and per-channel coefficients in float64 on the host,
// everything that touches a whole feature map by kernels.

import * as tf from '@tensorflow/tfjs-core';
import type { AllGather } from '../engine.ts';
import { channelAffine, channelMeans, type Map4D } from './kernels.ts';

/** Of one pass, or of those of all workers, per channel; what the backward step needs of the forward step. */
export interface BatchStatistics {
  readonly mean: Float64Array;
  /** Biased: the mean of squared deviations. */
  readonly variance: Float64Array;
  /** Samples times positions. */
  readonly count: number;
}

/**
 * What workers tell each other, per channel, of the values of a pass: their mean and the sum of the squared deviations
 * from it; or the sums of dy and of dy * d.
 */
interface ChannelSums {
  readonly first: Float64Array;
  readonly second: Float64Array;
  readonly count: number;
}

/** Of all workers, by rank. */
function gatherSums(allGather: AllGather, { first, second, count }: ChannelSums): readonly ChannelSums[] {
  const channels = first.length;
  const all = allGather(Float64Array.of(...first, ...second, count));
  const length = 2 * channels + 1;
  return Array.from({ length: all.length / length }, (_, rank) => {
    const row = all.slice(rank * length, (rank + 1) * length);
    return {
      first: row.subarray(0, channels),
      second: row.subarray(channels, 2 * channels),
      count: row[2 * channels],
    };
  });
}

/** As Chan, Golub and LeVeque 1979 add them up, for any number of parts, at least one of which has values. */
function statisticsOfAll(allGather: AllGather, own: BatchStatistics): BatchStatistics {
  const deviations = own.variance.map((variance) => variance * own.count);
  const parts = gatherSums(allGather, { first: own.mean, second: deviations, count: own.count });
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  const meanOf = (sum: (part: ChannelSums, channel: number) => number) =>
    own.mean.map((_, c) => parts.reduce((total, part) => total + sum(part, c), 0) / count);
  const mean = meanOf(({ first, count }, c) => count * first[c]);
  const variance = meanOf(({ first, second, count }, c) => second[c] + count * (first[c] - mean[c]) ** 2);
  return { mean, variance, count };
}

const nothing = (channels: number): ChannelSums => ({
  first: new Float64Array(channels),
  second: new Float64Array(channels),
  count: 0,
});

/** The part of a worker without samples in the forward step: it learns the statistics of the others. */
export function statisticsOfOthers(allGather: AllGather, channels: number): BatchStatistics {
  const { first: mean, second: variance, count } = nothing(channels);
  return statisticsOfAll(allGather, { mean, variance, count });
}

/** The same in the backward step, where it has no use for what it learns. */
export function giveNothing(allGather: AllGather, channels: number): void {
  gatherSums(allGather, nothing(channels));
}

/** Views of a layer's segments and of its running statistics, each [C]. */
export interface BatchNormState {
  readonly gamma: Float32Array;
  readonly beta: Float32Array;
  readonly runningMean: Float32Array;
  readonly runningVariance: Float32Array;
  readonly epsilon: number;
}

const ones = (channels: number) => new Float32Array(channels).fill(1);

/** x - mean as far as float32 holds the mean; `rest` is what of it remains to be subtracted. */
function centre(x: Map4D, mean: Float64Array): { centred: Map4D; rest: Float64Array } {
  const subtracted = Float32Array.from(mean, (m) => -m);
  const centred = channelAffine(x, ones(mean.length), subtracted);
  return { centred, rest: mean.map((m, c) => m + subtracted[c]) };
}

/**
 * Normalises with the statistics of the pass itself, or of the passes of all workers. The variance is that of centred
 * values: two passes, stable.
 */
export function normalise(
  x: Map4D,
  { gamma, beta, epsilon }: BatchNormState,
  allGather?: AllGather,
): { y: Map4D; statistics: BatchStatistics } {
  const ownMean = channelMeans(x);
  const { centred, rest } = centre(x, ownMean);
  const squares = tf.square(centred);
  const ownVariance = channelMeans(squares).map((square, c) => Math.max(0, square - rest[c] ** 2));
  squares.dispose();
  const [samples, height, width] = x.shape;
  const own = { mean: ownMean, variance: ownVariance, count: samples * height * width };
  const statistics = allGather ? statisticsOfAll(allGather, own) : own;
  const { mean, variance } = statistics;
  const scale = gamma.map((g, c) => g / Math.sqrt(variance[c] + epsilon));
  // What is subtracted from the centred values: the rest of the own mean, and how far the mean of all is from it.
  const y = channelAffine(
    centred,
    scale,
    beta.map((b, c) => b - scale[c] * (rest[c] + mean[c] - ownMean[c])),
  );
  centred.dispose();
  return { y, statistics };
}

/** Normalises with the running statistics. */
export function normaliseWithRunning(x: Map4D, state: BatchNormState): Map4D {
  const { gamma, beta, runningMean, runningVariance, epsilon } = state;
  const scale = Float64Array.from(gamma, (g, c) => g / Math.sqrt(runningVariance[c] + epsilon));
  return channelAffine(
    x,
    Float32Array.from(scale),
    beta.map((b, c) => b - runningMean[c] * scale[c]),
  );
}

/** As PyTorch: running += momentum * (new - running), with the unbiased variance (of one value: the biased). */
export function updateRunning(state: BatchNormState, statistics: BatchStatistics, momentum: number): void {
  const { runningMean, runningVariance } = state;
  const { mean, variance, count } = statistics;
  const unbiased = count > 1 ? count / (count - 1) : 1;
  for (let c = 0; c < mean.length; c++) {
    runningMean[c] += momentum * (mean[c] - runningMean[c]);
    runningVariance[c] += momentum * (variance[c] * unbiased - runningVariance[c]);
  }
}

export interface BatchNormGradient {
  readonly dx: Map4D;
  readonly gamma: Float64Array;
  readonly beta: Float64Array;
}

/**
 * With d = x - mean and r = 1 / sqrt(variance + epsilon): the gradient of beta is sum(dy), of gamma r * sum(dy * d),
 * and of x gamma * r * (dy - mean(dy) - d * r^2 * mean(dy * d)). Where the statistics are those of all workers' passes,
 * so are the means, and the sums are of this worker's.
 */
export function batchNormGradient(
  dy: Map4D,
  x: Map4D,
  { gamma, epsilon }: BatchNormState,
  { mean, variance, count }: BatchStatistics,
  allGather?: AllGather,
): BatchNormGradient {
  const inverse = variance.map((v) => 1 / Math.sqrt(v + epsilon));
  const { centred, rest } = centre(x, mean);
  const products = tf.mul<Map4D>(dy, centred);
  const [samples, height, width] = dy.shape;
  const own = samples * height * width;
  const first = channelMeans(dy).map((value) => value * own);
  const second = channelMeans(products).map((product, c) => product * own - rest[c] * first[c]);
  products.dispose();
  const parts = allGather ? gatherSums(allGather, { first, second, count: own }) : [{ first, second }];
  const meanOf = (key: 'first' | 'second') =>
    first.map((_, c) => parts.reduce((sum, part) => sum + part[key][c], 0) / count);
  const [meanGradient, meanProduct] = [meanOf('first'), meanOf('second')];
  const scale = Float32Array.from(gamma, (g, c) => g * inverse[c]);
  const shift = scale.map((s, c) => -s * meanGradient[c]);
  const slope = scale.map((s, c) => -s * inverse[c] ** 2 * meanProduct[c]);
  const dx = tf.tidy(() =>
    tf.add<Map4D>(
      channelAffine(dy, scale, shift),
      channelAffine(
        centred,
        slope,
        slope.map((s, c) => -s * rest[c]),
      ),
    ),
  );
  centred.dispose();
  return {
    dx,
    gamma: second.map((product, c) => product * inverse[c]),
    beta: first,
  };
}
