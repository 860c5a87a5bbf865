// The fused update of one shard: reduce, accumulate S and A, amplify, decay, momentum, step, in one pass.

import type { DirectionAccumulators, Range } from '../amplification/directionality.ts';
import type { LayerFactors } from '../models/candidates.ts';
import { type Graph, type Parameter, SEGMENT_ALIGNMENT } from '../models/graph.ts';

/** Stochastic gradient descent as PyTorch's `SGD`. */
export interface SgdOptions {
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
}

/** A run of the flat vector that is treated alike: a tensor, or a shard's part of one. */
export interface Segment {
  readonly range: Range;
  /** Position of the tensor among the graph's parameters. */
  readonly tensor: number;
  /** Of the gradient, before momentum and weight decay. */
  readonly gradientFactor: number;
  /** Of the learning rate. */
  readonly rateFactor: number;
}

/** What a factor is of; of `backpropagated` ones the replica takes care. */
export type ScaledQuantity = 'gradient' | 'learning-rate';

export interface UpdateVectors {
  readonly weights: Float32Array;
  readonly velocity: Float32Array;
  /** One a worker; their sum is the gradient. */
  readonly gradients: readonly Float32Array[];
  /** In an analysis epoch: they see the reduced gradient before clipping, amplification and weight decay. */
  readonly accumulators?: DirectionAccumulators;
}

export interface UpdateOptions extends SgdOptions {
  /** What clipping leaves of the gradient; 1 without it. */
  readonly clipScale: number;
  /** The accumulators see the gradient with weight decay added. */
  readonly measureWeightDecay: boolean;
  /** By tensor, on gradient and weight decay: see lars.ts. Without them 1. */
  readonly localRates?: Float64Array;
}

/** What updates a worker's shard: the functions below, or an engine's own (kernel-update.ts). */
export interface Updater {
  readonly update: (vectors: UpdateVectors, segments: readonly Segment[], options: UpdateOptions) => void;
  readonly squaredNorms: (
    parts: readonly Float32Array[],
    segments: readonly Segment[],
    norms: Float64Array,
  ) => void;
  readonly allFinite: (vector: Float32Array) => boolean;
}

/** The part of the flat vector that a worker updates: contiguous, on segment boundaries, together all of it. */
export function shardOf(length: number, rank: number, worldSize: number): Range {
  const units = Math.ceil(length / SEGMENT_ALIGNMENT);
  const bound = (r: number) => Math.min(length, Math.floor((units * r) / worldSize) * SEGMENT_ALIGNMENT);
  return [bound(rank), bound(rank + 1)];
}

/** The parts of two ranges that overlap; empty where they don't. */
export function intersect([a, b]: Range, [c, d]: Range): Range {
  const start = Math.max(a, c);
  return [start, Math.max(start, Math.min(b, d))];
}

/** All tensors of a graph, in the order of the flat vector. */
export const tensorsOf = (graph: Graph): readonly Parameter[] =>
  graph.layers.flatMap(({ parameters }) => parameters);

/** The parameters within a shard, without padding; `factors` names layers or single tensors. */
export function segmentsOf(
  graph: Graph,
  shard: Range,
  factors: LayerFactors,
  quantity: ScaledQuantity,
): readonly Segment[] {
  const layers = graph.layers.flatMap(({ name, parameters }) => parameters.map(() => name));
  return tensorsOf(graph).flatMap(({ name, offset, size }, tensor) => {
    const range = intersect([offset, offset + size], shard);
    if (range[0] === range[1]) return [];
    const factor = factors.get(layers[tensor]) ?? factors.get(name) ?? 1;
    const onGradient = quantity === 'gradient';
    return [{ range, tensor, gradientFactor: onGradient ? factor : 1, rateFactor: onGradient ? 1 : factor }];
  });
}

const BLOCK = 2048;
const block = new Float64Array(BLOCK);

/**
 * With g the sum of the workers' gradients: d = localRate * (g * clipScale * gradientFactor + weightDecay * w),
 * v = momentum * v + d, and w -= learningRate * rateFactor * (v, or with Nesterov d + momentum * v). Sums are made in
 * float64, block by block, so that a block stays in the cache.
 */
export function update(vectors: UpdateVectors, segments: readonly Segment[], options: UpdateOptions): void {
  const { weights, velocity, gradients, accumulators } = vectors;
  const { momentum, weightDecay, nesterov, clipScale, measureWeightDecay, localRates } = options;
  for (const { range, tensor, gradientFactor, rateFactor } of segments) {
    const local = localRates ? localRates[tensor] : 1;
    const scale = local * clipScale * gradientFactor;
    const decay = local * weightDecay;
    const rate = options.learningRate * rateFactor;
    for (let start = range[0]; start < range[1]; start += BLOCK) {
      const size = Math.min(BLOCK, range[1] - start);
      reduce(gradients, start, size);
      if (accumulators) accumulate(accumulators, weights, measureWeightDecay ? weightDecay : 0, start, size);
      for (let i = 0; i < size; i++) {
        const weight = weights[start + i];
        const d = scale * block[i] + decay * weight;
        const v = momentum * velocity[start + i] + d;
        velocity[start + i] = v;
        weights[start + i] = weight - rate * (nesterov ? d + momentum * v : v);
      }
    }
  }
}

/** Writes the squared norm of each tensor of a vector, the sum of the given ones, as far as the segments hold it. */
export function squaredNorms(
  parts: readonly Float32Array[],
  segments: readonly Segment[],
  norms: Float64Array,
): void {
  norms.fill(0);
  for (const { range, tensor } of segments) {
    let sum = 0;
    for (let start = range[0]; start < range[1]; start += BLOCK) {
      const size = Math.min(BLOCK, range[1] - start);
      reduce(parts, start, size);
      for (let i = 0; i < size; i++) sum += block[i] * block[i];
    }
    norms[tensor] += sum;
  }
}

/** Element by element, in the given order, so that all workers get the same numbers. */
export function addUp(parts: readonly Float64Array[]): Float64Array {
  return parts[0].map((_, i) => parts.reduce((sum, part) => sum + part[i], 0));
}

function reduce(parts: readonly Float32Array[], start: number, size: number): void {
  for (let i = 0; i < size; i++) block[i] = parts[0][start + i];
  for (let rank = 1; rank < parts.length; rank++) {
    const part = parts[rank];
    for (let i = 0; i < size; i++) block[i] += part[start + i];
  }
}

/**
 * What clipping to a norm leaves of a gradient, as a factor of at most 1: PyTorch's `clip_grad_norm_`.
 * @param squaredNorms of its tensors.
 */
export function clipFactor(squaredNorms: Float64Array, clipNorm: number): number {
  const squaredNorm = squaredNorms.reduce((sum, norm) => sum + norm, 0);
  return Math.min(1, clipNorm / (Math.sqrt(squaredNorm) + 1e-6));
}

function accumulate(
  { S, A }: DirectionAccumulators,
  weights: Float32Array,
  weightDecay: number,
  start: number,
  size: number,
): void {
  for (let i = 0; i < size; i++) {
    const g = block[i] + weightDecay * weights[start + i];
    S[start + i] += g;
    A[start + i] += Math.abs(g);
  }
}

/** Whether every number is finite: a step with any other is skipped by all workers. */
export function allFinite(vector: Float32Array): boolean {
  // A finite number times 0 is 0, anything else NaN: one pass without a branch.
  let zero = 0;
  for (let i = 0; i < vector.length; i++) zero += vector[i] * 0;
  return zero === 0;
}

/** In TypeScript: for engines that bring no kernels, and the oracle of those that do. */
export const portableUpdater: Updater = { update, squaredNorms, allFinite };
