// LARS against timm's on recorded gradients; fixtures/make-lars.py wrote what timm and PyTorch do.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { localRates } from '../../src/training/lars.ts';
import { addUp, clipFactor, intersect, squaredNorms, update } from '../../src/training/update.ts';

interface Variant {
  readonly momentum: number;
  readonly weight_decay: number;
  readonly nesterov?: boolean;
  readonly eps: number;
  readonly clip_norm: number | null;
  /** By step. */
  readonly trajectory: readonly (readonly number[])[];
}

const fixture = JSON.parse(readFileSync(new URL('./fixtures/lars.json', import.meta.url), 'utf8')) as {
  readonly shapes: readonly (readonly number[])[];
  readonly trust: number;
  readonly rates: readonly number[];
  readonly initial: readonly number[];
  readonly gradients: readonly (readonly number[])[];
  readonly variants: Readonly<Record<string, Variant>>;
};
const tensors = fixture.shapes.map((shape) => ({ shape, size: shape.reduce((a, b) => a * b) }));
const ends = tensors.map((_, i) => tensors.slice(0, i + 1).reduce((sum, { size }) => sum + size, 0));
const length = fixture.initial.length;

/** What each of `worldSize` workers updates: cuts within tensors, since a shard ends where it ends. */
function shardSegments(worldSize: number) {
  const bound = (rank: number) => Math.floor((length * rank) / worldSize);
  return Array.from({ length: worldSize }, (_, rank) =>
    tensors.flatMap(({ size }, tensor) => {
      const range = intersect([ends[tensor] - size, ends[tensor]], [bound(rank), bound(rank + 1)]);
      return range[0] === range[1] ? [] : [{ range, tensor, gradientFactor: 1, rateFactor: 1 }];
    }),
  );
}

/** The weights behind each of the 20 steps, computed by workers with a shard each. */
function train(variant: Variant, worldSize: number): readonly Float32Array[] {
  const weights = Float32Array.from(fixture.initial);
  const velocity = new Float32Array(length);
  const shards = shardSegments(worldSize);
  return fixture.gradients.map((gradient, step) => {
    // Parts whose sum is exact: the first worker saw too much by what the others saw.
    const others = Array.from({ length: worldSize - 1 }, (_, rank) =>
      gradient.map((_, i) => (rank + 1) * ((i % 7) - 3)),
    );
    const first = gradient.map((g, i) => g - others.reduce((sum, other) => sum + other[i], 0));
    const gradients = [first, ...others].map((part) => Float32Array.from(part));
    const normsOf = (parts: readonly Float32Array[]) =>
      addUp(
        shards.map((segments) => {
          const norms = new Float64Array(tensors.length);
          squaredNorms(parts, segments, norms);
          return norms;
        }),
      );
    const norms = { weights: normsOf([weights]), gradient: normsOf(gradients) };
    const clipScale = variant.clip_norm === null ? 1 : clipFactor(norms.gradient, variant.clip_norm);
    const { weight_decay: weightDecay, momentum, nesterov = false } = variant;
    const lars = { trust: fixture.trust, epsilon: variant.eps, weightDecay, clipScale };
    for (const segments of shards) {
      update({ weights, velocity, gradients }, segments, {
        ...{ learningRate: fixture.rates[step], momentum, weightDecay, nesterov, clipScale },
        measureWeightDecay: false,
        localRates: localRates(tensors, norms, lars),
      });
    }
    return weights.slice();
  });
}

describe.each(Object.entries(fixture.variants))('LARS with %s', (_, variant) => {
  const runs = [1, 2, 3].map((worldSize) => train(variant, worldSize));

  it('follows timm for 20 steps to 1e-6', () => {
    for (const [step, weights] of runs[0].entries()) {
      const difference = weights.map((w, i) => Math.abs(w - variant.trajectory[step][i]));
      expect(Math.max(...difference), `step ${step + 1}`).toBeLessThan(1e-6);
    }
  });

  it('gives the same weights with 1, 2 and 3 shards', () => {
    for (const run of runs.slice(1)) {
      for (const [step, weights] of run.entries()) {
        const difference = weights.map((w, i) => Math.abs(w - runs[0][step][i]));
        expect(Math.max(...difference), `step ${step + 1}`).toBeLessThan(1e-7);
      }
    }
  });
});

it('holds variants that differ from each other', () => {
  const ends = Object.values(fixture.variants).map(({ trajectory }) => trajectory[19][0].toFixed(4));
  expect(new Set(ends).size).toBe(ends.length);
});

describe('the local rate of |w| = 3 and |g| = 4 with trust 0.1', () => {
  const rate = (changes: object = {}, norms: { w?: number; g?: number; shape?: number[] } = {}) => {
    const { w = 9, g = 16, shape = [2, 2] } = norms;
    const settings = { trust: 0.1, epsilon: 0, weightDecay: 0, clipScale: 1, ...changes };
    const squares = { weights: Float64Array.of(w), gradient: Float64Array.of(g) };
    return localRates([{ shape }], squares, settings)[0];
  };

  it('is 0.3 / 4, with a weight decay of 2 0.3 / 10, and with an epsilon of 6 0.3 / 10', () => {
    expect(rate()).toBeCloseTo(0.075, 12);
    expect(rate({ weightDecay: 2 })).toBeCloseTo(0.03, 12);
    expect(rate({ epsilon: 6 })).toBeCloseTo(0.03, 12);
  });

  it('takes the norm of what clipping leaves: 0.3 / 2 of half the gradient', () => {
    expect(rate({ clipScale: 0.5 })).toBeCloseTo(0.15, 12);
  });

  it('is 1 for tensors of one dimension, and where either norm is 0', () => {
    expect(rate({}, { shape: [4] })).toBe(1);
    expect(rate({ weightDecay: 2 }, { w: 0 })).toBe(1);
    expect(rate({ weightDecay: 2 }, { g: 0 })).toBe(1);
  });
});

it('scales the amplified gradient by the local rate of the plain one', () => {
  // d = 0.5 * (2 * 3 + 0.01 * 2) = 3.01
  const vectors = {
    weights: Float32Array.of(2),
    velocity: new Float32Array(1),
    gradients: [Float32Array.of(3)],
  };
  update(vectors, [{ range: [0, 1], tensor: 1, gradientFactor: 2, rateFactor: 1 }], {
    ...{ learningRate: 0.1, momentum: 0.9, weightDecay: 0.01, nesterov: false, clipScale: 1 },
    measureWeightDecay: false,
    localRates: Float64Array.of(1, 0.5),
  });
  expect(vectors.velocity[0]).toBeCloseTo(3.01, 6);
  expect(vectors.weights[0]).toBeCloseTo(2 - 0.301, 6);
});
