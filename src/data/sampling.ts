// Which samples a step sees and who computes them: the order of an epoch, its global batches, their passes.

import { draw, Stream } from '../random.ts';

/** A position fits the low bits of a sort key: 32 + 21 bits are exact in a float64. */
const POSITIONS = 2 ** 21;

/**
 * The order in which an epoch visits the samples, uint32: a permutation of `samples`. They are sorted by a random key
 * that depends on (seed, epoch, sample) alone, ties by sample: leaving some out does not change the order of the others.
 *
 * @param samples positions in a split, below 2^21, in any order.
 */
export function epochOrder(seed: number, epoch: number, samples: Uint32Array): Uint32Array {
  const keys = Float64Array.from(samples, (sample) => {
    if (sample >= POSITIONS) throw new RangeError(`expected positions below ${POSITIONS}, got ${sample}`);
    return draw(seed, Stream.order, epoch, sample)[0] * POSITIONS + sample;
  });
  keys.sort();
  return Uint32Array.from(keys, (key) => key % POSITIONS);
}

/** Global batches in an epoch; the last one may be short. */
export function stepCount(size: number, batchSize: number): number {
  return Math.ceil(size / batchSize);
}

/** The samples of a step, counted from 0: a view of `order`. */
export function globalBatch(order: Uint32Array, step: number, batchSize: number): Uint32Array {
  return order.subarray(step * batchSize, (step + 1) * batchSize);
}

export interface PassOptions {
  /** Samples in this global batch. */
  readonly batch: number;
  /** The worker: 0..worldSize-1. */
  readonly rank: number;
  readonly worldSize: number;
  /** Samples in a pass. */
  readonly microBatch?: number;
}

/**
 * The stretches [start, end) of the global batch that one worker computes, one pass each. Without `microBatch` it is one
 * pass for every worker: its share of the samples, which is empty where there are fewer samples than workers. With it the
 * batch is cut into passes of that size, the last may be short, and whole passes are dealt out: over all workers they are
 * the same passes for every worldSize, and a worker may get none. Shares are contiguous and differ by at most one.
 */
export function passesOf(options: PassOptions): readonly (readonly [start: number, end: number])[] {
  const { batch, rank, worldSize, microBatch } = options;
  if (microBatch === undefined) return [shareOf(batch, rank, worldSize)];
  const [first, end] = shareOf(Math.ceil(batch / microBatch), rank, worldSize);
  return Array.from({ length: end - first }, (_, i) => {
    const start = (first + i) * microBatch;
    return [start, Math.min(start + microBatch, batch)] as const;
  });
}

function shareOf(items: number, rank: number, worldSize: number): [start: number, end: number] {
  return [Math.floor((items * rank) / worldSize), Math.floor((items * (rank + 1)) / worldSize)];
}

/** Samples of the largest pass that `passesOf` makes of a full batch. */
export function largestPass(options: { batch: number; worldSize: number; microBatch?: number }): number {
  const { batch, worldSize, microBatch } = options;
  return microBatch === undefined ? Math.ceil(batch / worldSize) : Math.min(microBatch, batch);
}
