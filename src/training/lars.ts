// LARS, layer-wise adaptive rate scaling: every tensor gets a learning rate of its own, from the sizes of its weights and of
// its gradient. You, Gitman, Ginsburg 2017, "Large batch training of convolutional networks", eq. (6) and Algorithm 1.

import type { Parameter } from '../models/graph.ts';

export interface LarsOptions {
  /** Above 0: how far a step may move a tensor, as a share of its norm, at a learning rate of 1. */
  readonly trust: number;
  /** Added to the denominator; at least 0. */
  readonly epsilon: number;
}

/** Squared Euclidean norms of whole tensors, in the order of the graph's parameters. */
export interface TensorNorms {
  readonly weights: Float64Array;
  /** Of the reduced gradient. */
  readonly gradient: Float64Array;
}

/**
 * What LARS multiplies gradient and weight decay of each tensor by, as `Lars` of timm
 * (huggingface/pytorch-image-models, timm/optim/lars.py) with `always_adapt` and without `trust_clip`:
 *
 *     trust * |w| / (|g| + weightDecay * |w| + epsilon)
 *
 * It is 1 where |w| or |g| is 0, and for tensors of one dimension: biases, and gamma and beta of a batch norm, are
 * trained as without LARS, weight decay included. g is the gradient behind clipping but before amplification: behind
 * it, a factor on the gradient would be in the numerator (g) and in the denominator (|g|) and so do next to nothing.
 *
 * @param clipScale what clipping leaves of the gradient that the norms are of.
 */
export function localRates(
  tensors: readonly Pick<Parameter, 'shape'>[],
  norms: TensorNorms,
  { trust, epsilon, weightDecay, clipScale }: LarsOptions & { weightDecay: number; clipScale: number },
): Float64Array {
  return Float64Array.from(tensors, ({ shape }, tensor) => {
    const weight = Math.sqrt(norms.weights[tensor]);
    const gradient = clipScale * Math.sqrt(norms.gradient[tensor]);
    if (shape.length === 1 || weight === 0 || gradient === 0) return 1;
    return (trust * weight) / (gradient + weightDecay * weight + epsilon);
  });
}
