// The update against torch.optim.SGD on recorded gradients; fixtures/make-sgd.py wrote what PyTorch does.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { clipFactor, squaredNorms, update } from '../../src/training/update.ts';

interface Variant {
  readonly momentum: number;
  readonly weight_decay: number;
  readonly nesterov?: boolean;
  readonly clip_norm: number | null;
  /** By step. */
  readonly trajectory: readonly (readonly number[])[];
}

const fixture = JSON.parse(readFileSync(new URL('./fixtures/sgd.json', import.meta.url), 'utf8')) as {
  readonly rates: readonly number[];
  readonly initial: readonly number[];
  readonly gradients: readonly (readonly number[])[];
  readonly variants: Readonly<Record<string, Variant>>;
};

describe.each(Object.entries(fixture.variants))('SGD with %s', (_, variant) => {
  it.each([1, 3])('follows PyTorch for 20 steps to 1e-6, the gradient in %d parts', (worldSize) => {
    const weights = Float32Array.from(fixture.initial);
    const velocity = new Float32Array(weights.length);
    const segments = [{ range: [0, weights.length] as const, tensor: 0, gradientFactor: 1, rateFactor: 1 }];
    for (const [step, gradient] of fixture.gradients.entries()) {
      // Parts whose sum is exact: the first worker saw too much by what the others saw.
      const others = Array.from({ length: worldSize - 1 }, (_, rank) =>
        gradient.map((_, i) => (rank + 1) * (i - 3)),
      );
      const first = gradient.map((g, i) => g - others.reduce((sum, other) => sum + other[i], 0));
      const gradients = [first, ...others].map((part) => Float32Array.from(part));
      const norms = new Float64Array(1);
      squaredNorms(gradients, segments, norms);
      const clipScale = variant.clip_norm === null ? 1 : clipFactor(norms, variant.clip_norm);
      update({ weights, velocity, gradients }, segments, {
        learningRate: fixture.rates[step],
        momentum: variant.momentum,
        weightDecay: variant.weight_decay,
        nesterov: variant.nesterov ?? false,
        clipScale,
        measureWeightDecay: false,
      });
      const difference = weights.map((w, i) => Math.abs(w - variant.trajectory[step][i]));
      expect(Math.max(...difference), `step ${step + 1}`).toBeLessThan(1e-6);
    }
  });
});

it('holds variants that differ from each other', () => {
  const ends = Object.values(fixture.variants).map(({ trajectory }) => trajectory[19][0].toFixed(4));
  expect(new Set(ends).size).toBe(ends.length);
});
