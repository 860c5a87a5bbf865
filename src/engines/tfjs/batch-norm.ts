// Batch normalisation (Ioffe and Szegedy 2015): statistics and per-channel coefficients in float64 on the host,
// everything that touches a whole feature map by kernels.

import * as tf from '@tensorflow/tfjs-core';
import type { AllGather } from '../engine.ts';
import { type BatchStatistics, gradientSumsOfAll, statisticsOfAll } from './batch-statistics.ts';
import { channelAffine, channelMeans, type Map4D } from './kernels.ts';

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
  { mean, variance }: BatchStatistics,
  allGather?: AllGather,
): BatchNormGradient {
  const inverse = variance.map((v) => 1 / Math.sqrt(v + epsilon));
  const { centred, rest } = centre(x, mean);
  const products = tf.mul<Map4D>(dy, centred);
  const [samples, height, width] = dy.shape;
  const count = samples * height * width;
  const gradient = channelMeans(dy).map((value) => value * count);
  const product = channelMeans(products).map((value, c) => value * count - rest[c] * gradient[c]);
  products.dispose();
  const own = { gradient, product, count };
  const all = allGather ? gradientSumsOfAll(allGather, own) : own;
  const meanGradient = all.gradient.map((sum) => sum / all.count);
  const meanProduct = all.product.map((sum) => sum / all.count);
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
    gamma: product.map((sum, c) => sum * inverse[c]),
    beta: gradient,
  };
}
