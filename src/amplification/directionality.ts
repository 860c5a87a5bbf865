// The directionality ratios G and G' of a layer: how steadily its weights' gradients kept one direction.

/** The accumulators of one analysis epoch, one number a weight, summed over its iterations j. */
export interface DirectionAccumulators {
  /** S_i = sum over j of g_ij. */
  readonly S: Float32Array;
  /** A_i = sum over j of |g_ij|. */
  readonly A: Float32Array;
}

/** A range [start, end) of the flat vector. */
export type Range = readonly [start: number, end: number];

/** What a layer's ratios are made of. Sums of disjoint ranges add up, so that shards can be summed apart. */
export interface DirectionSums {
  /** Sum over i of |S_i|. */
  readonly netSum: number;
  /** Sum over i of A_i. */
  readonly totalSum: number;
  /** Sum over i of |S_i| / A_i, where a weight with A_i = 0 contributes 0. */
  readonly ratioSum: number;
  /** Weights counted. */
  readonly size: number;
  /** Those among them with A_i = 0: they never had a gradient. */
  readonly dead: number;
}

export const NO_SUMS: DirectionSums = { netSum: 0, totalSum: 0, ratioSum: 0, size: 0, dead: 0 };

/** Sums over one range, in float64: a layer has up to 2.36 million weights. */
export function directionSums({ S, A }: DirectionAccumulators, [start, end]: Range): DirectionSums {
  let netSum = 0;
  let totalSum = 0;
  let ratioSum = 0;
  let dead = 0;
  for (let i = start; i < end; i++) {
    const net = Math.abs(S[i]);
    const total = A[i];
    netSum += net;
    totalSum += total;
    if (total === 0) dead++;
    else ratioSum += net / total;
  }
  return { netSum, totalSum, ratioSum, size: Math.max(0, end - start), dead };
}

export function addSums(a: DirectionSums, b: DirectionSums): DirectionSums {
  return {
    netSum: a.netSum + b.netSum,
    totalSum: a.totalSum + b.totalSum,
    ratioSum: a.ratioSum + b.ratioSum,
    size: a.size + b.size,
    dead: a.dead + b.dead,
  };
}

export type Measure = 'G' | 'Gprime';

/** n of eq. (7); `countDeadWeights`: whether it counts weights with A_i = 0. */
export const countedWeights = ({ size, dead }: DirectionSums, countDeadWeights: boolean): number =>
  countDeadWeights ? size : size - dead;

/**
 * Eq. (4): G = sum |S_i| / sum A_i, eq. (7): G' = (1/n) sum |S_i| / A_i; both in [0, 1], and 0 without gradients.
 */
export function directionality(
  sums: DirectionSums,
  { countDeadWeights = true } = {},
): Record<Measure, number> {
  const { netSum, totalSum, ratioSum } = sums;
  const n = countedWeights(sums, countDeadWeights);
  return { G: totalSum === 0 ? 0 : netSum / totalSum, Gprime: n === 0 ? 0 : ratioSum / n };
}

/** What G and G' are for zero-mean noise over m iterations: about 1/sqrt(m), not 0 (method.md, note 1). */
export const noiseFloor = (iterations: number): number => 1 / Math.sqrt(iterations);

/** Spread of a layer's G under noise, n weights and m iterations: 0.755 / sqrt(m n) (method.md, note 2). */
export const standardError = (iterations: number, size: number): number =>
  0.755 / Math.sqrt(iterations * size);
