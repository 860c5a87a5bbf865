import fc from 'fast-check';
import { describe, expect } from 'vitest';
import type { RunUpdate } from '../../../src/engines/engine.ts';
import { sharedFloat32 } from '../../../src/parallel/store.ts';
import { kernelUpdater } from '../../../src/training/kernel-update.ts';
import {
  allFinite,
  type Segment,
  squaredNorms,
  type UpdateOptions,
  type UpdateVectors,
  update,
} from '../../../src/training/update.ts';
import { addon, it } from './fixtures.ts';

const native = kernelUpdater(addon);
const { fround, abs } = Math;
/** Largest relative error of one rounding to float32. */
const EPSILON = 2 ** -24;

/** By tensor; that of the first is 1. */
const LOCAL_RATES = Float64Array.from(
  { length: 3000 },
  (_, tensor) => (1 + (tensor % 7)) / (1 + (tensor % 5)),
);

interface Case {
  readonly vectors: UpdateVectors & { readonly accumulators: { S: Float32Array; A: Float32Array } };
  readonly segments: readonly Segment[];
}

/** Vectors in shared memory from a chance number on, and segments with gaps between them that cover most of it. */
function randomCase(seed: number, workers: number, length: number): Case {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const vector = () => {
    const offset = Math.floor(random() * 16);
    const numbers = sharedFloat32(offset + length).subarray(offset);
    for (let i = 0; i < length; i++) numbers[i] = (random() - 0.5) * 2 ** (8 * random() - 4);
    return numbers;
  };
  const segments: Segment[] = [];
  for (let start = Math.floor(random() * 5); start < length; ) {
    const end = Math.min(length, start + 1 + Math.floor(random() ** 3 * 500));
    const factor = () => (random() < 0.5 ? 1 : 0.25 + 2 * random());
    // Some tensors lie in two pieces, as where a shard would end within.
    const tensor = segments.length - (random() < 0.2 ? 1 : 0);
    segments.push({
      ...{ range: [start, end], tensor: Math.max(0, tensor) },
      ...{ gradientFactor: factor(), rateFactor: factor() },
    });
    start = end + Math.floor(random() * 4) * Math.floor(random() * 20);
  }
  const accumulators = { S: vector(), A: vector() };
  const gradients = Array.from({ length: workers }, vector);
  return { vectors: { weights: vector(), velocity: vector(), gradients, accumulators }, segments };
}

const copy = ({ weights, velocity, gradients, accumulators }: Case['vectors']): Case['vectors'] => ({
  ...{ weights: weights.slice(), velocity: velocity.slice(), gradients: gradients.map((g) => g.slice()) },
  accumulators: { S: accumulators.S.slice(), A: accumulators.A.slice() },
});

/** Of all numbers; expect's own comparison takes much longer. */
const bitsOf = ({ weights, velocity, gradients, accumulators: { S, A } }: Case['vectors']) =>
  Buffer.concat(
    [weights, velocity, ...gradients, S, A].map((v) => Buffer.from(v.buffer, v.byteOffset, v.byteLength)),
  );

/** The update in float32, every operation rounded: what the kernel must give bit for bit. */
function updateInFloat32(vectors: UpdateVectors, segments: readonly Segment[], options: UpdateOptions): void {
  const { weights: w, velocity: v, gradients, accumulators } = vectors;
  const momentum = fround(options.momentum);
  const measuredDecay = fround(options.weightDecay);
  for (const { range, tensor, gradientFactor, rateFactor } of segments) {
    const local = options.localRates ? options.localRates[tensor] : 1;
    const factor = fround(local * options.clipScale * gradientFactor);
    const decay = fround(local * options.weightDecay);
    const rate = fround(options.learningRate * rateFactor);
    for (let i = range[0]; i < range[1]; i++) {
      const g = gradients.map((gradient) => gradient[i]).reduce((sum, x) => fround(sum + x));
      if (accumulators) {
        const measured = options.measureWeightDecay ? fround(g + fround(measuredDecay * w[i])) : g;
        accumulators.S[i] += measured;
        accumulators.A[i] += abs(measured);
      }
      const d = fround(fround(factor * g) + fround(decay * w[i]));
      v[i] = fround(fround(momentum * v[i]) + d);
      const step = options.nesterov ? fround(d + fround(momentum * v[i])) : v[i];
      w[i] = fround(w[i] - fround(rate * step));
    }
  }
}

/** The largest differences that rounding explains: each result's error is less than a few ulp of its addends' sum. */
function expectClose(
  result: UpdateVectors,
  oracle: UpdateVectors,
  before: Case,
  options: UpdateOptions,
): void {
  const { momentum, weightDecay, nesterov, clipScale, learningRate } = options;
  const { weights, velocity, gradients, accumulators } = before.vectors;
  const ulps = (gradients.length + 8) * EPSILON;
  const close = (a: number, b: number, addends: number, what: string) => {
    if (!(abs(a - b) <= ulps * addends)) throw new Error(`${what}: ${a} instead of ${b}`);
  };
  for (const { range, tensor, gradientFactor, rateFactor } of before.segments) {
    const local = options.localRates ? options.localRates[tensor] : 1;
    for (let i = range[0]; i < range[1]; i++) {
      const g = gradients.reduce((sum, gradient) => sum + abs(gradient[i]), 0);
      const w = abs(weights[i]);
      const d = local * (clipScale * gradientFactor * g + weightDecay * w);
      const v = momentum * abs(velocity[i]) + d;
      close(result.velocity[i], oracle.velocity[i], v, `velocity[${i}]`);
      const step = nesterov ? d + momentum * v : v;
      close(result.weights[i], oracle.weights[i], w + learningRate * rateFactor * step, `weights[${i}]`);
      if (!result.accumulators || !oracle.accumulators) continue;
      const measured = g + weightDecay * w;
      for (const key of ['S', 'A'] as const) {
        const addends = abs(accumulators[key][i]) + measured;
        close(result.accumulators[key][i], oracle.accumulators[key][i], addends, `${key}[${i}]`);
      }
    }
  }
}

describe.each([1, 2, 3, 5, 9])('the native update of %i gradients', (workers) => {
  const options = fc.record({
    learningRate: fc.constantFrom(0.1, 0.37),
    momentum: fc.constantFrom(0, 0.9),
    weightDecay: fc.constantFrom(0, 5e-4, 0.1),
    nesterov: fc.boolean(),
    clipScale: fc.constantFrom(1, 0.0123),
    measureWeightDecay: fc.boolean(),
    localRates: fc.constantFrom(undefined, LOCAL_RATES),
  });
  const chance = fc.record({
    ...{ seed: fc.nat(), length: fc.oneof(fc.nat(70), fc.integer({ min: 71, max: 3000 })) },
    ...{ options, accumulates: fc.boolean() },
  });

  it('is float32 arithmetic bit for bit, and leaves what lies between segments', () => {
    fc.assert(
      fc.property(chance, ({ seed, length, options, accumulates }) => {
        const { vectors, segments } = randomCase(seed, workers, length);
        const expected = copy(vectors);
        const withAccumulators = (all: Case['vectors']) =>
          accumulates ? all : { ...all, accumulators: undefined };
        native.update(withAccumulators(vectors), segments, options);
        updateInFloat32(withAccumulators(expected), segments, options);
        expect(bitsOf(vectors).equals(bitsOf(expected))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('agrees with TypeScript to a few ulp of the largest addend', () => {
    fc.assert(
      fc.property(chance, ({ seed, length, options }) => {
        const before = randomCase(seed, workers, length);
        const [result, oracle] = [copy(before.vectors), copy(before.vectors)];
        native.update(result, before.segments, options);
        update(oracle, before.segments, options);
        expectClose(result, oracle, before, options);
      }),
      { numRuns: 60 },
    );
  });

  it('measures the squared norm of each tensor of the reduced gradient as TypeScript does', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(3000), (seed, length) => {
        const { vectors, segments } = randomCase(seed, workers, length);
        const normsBy = (measure: typeof squaredNorms, parts: readonly Float32Array[]) => {
          const norms = new Float64Array(segments.length).fill(7);
          measure(parts, segments, norms);
          return norms;
        };
        const expected = normsBy(squaredNorms, vectors.gradients);
        const magnitudes = normsBy(
          squaredNorms,
          vectors.gradients.map((gradient) => gradient.map(abs)),
        );
        for (const [tensor, norm] of normsBy(native.squaredNorms, vectors.gradients).entries()) {
          // Of one gradient only the order of a sum in float64 differs; of more their sum is rounded to float32.
          const bound = workers === 1 ? 1e-13 * expected[tensor] : 2 * workers * EPSILON * magnitudes[tensor];
          expect(abs(norm - expected[tensor])).toBeLessThanOrEqual(bound);
        }
      }),
    );
  });
});

it('does a step of two numbers worked out by hand', () => {
  const vectors = {
    weights: Float32Array.of(2, -1, 7),
    velocity: Float32Array.of(0.5, 1, 7),
    gradients: [Float32Array.of(3, 1, 7), Float32Array.of(-1, 1.5, 7)],
    S: Float32Array.of(1, 1, 7),
    A: Float32Array.of(1, 1, 7),
  };
  const runs = Float64Array.of(0, 1, 2, 0.25, 0.5, 1, 2, -1, 0.5, 1);
  addon.update({ ...vectors, runs, momentum: 0.5, nesterov: true, measuredDecay: 8 });
  // g = [2, 2.5], d = [2 * 2 + 0.25 * 2, -2.5 - 0.5] = [4.5, -3], v = [0.25 + 4.5, 0.5 - 3],
  // w -= [0.5 * (4.5 + 2.375), -3 - 1.25]; g + 8 w = [18, -5.5]
  expect(vectors.velocity).toEqual(Float32Array.of(4.75, -2.5, 7));
  expect(vectors.weights).toEqual(Float32Array.of(2 - 3.4375, -1 + 4.25, 7));
  expect(vectors.S).toEqual(Float32Array.of(19, -4.5, 7));
  expect(vectors.A).toEqual(Float32Array.of(19, 6.5, 7));
});

it('writes a squared norm for each range, 0 for an empty one', () => {
  const parts = [Float32Array.from({ length: 100 }, (_, i) => i), new Float32Array(100).fill(1)];
  const norms = new Float64Array(3).fill(-1);
  addon.squaredNorms(parts, Float64Array.of(3, 3, 0, 2, 1, 40), norms);
  // 1 + 4, and the sum of 2^2 to 40^2 = 40 * 41 * 81 / 6 - 1
  expect(norms).toEqual(Float64Array.of(0, 5, 22139));
});

it('finds a single number that is not finite, wherever it stands', () => {
  for (const length of [0, 1, 15, 16, 33, 70]) {
    const vector = sharedFloat32(length + 1).subarray(1);
    vector.fill(-3.4e38);
    expect(addon.allFinite(vector)).toBe(true);
    for (let i = 0; i < length; i++) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        vector[i] = bad;
        expect(addon.allFinite(vector)).toBe(allFinite(vector));
        expect(addon.allFinite(vector)).toBe(false);
      }
      vector[i] = 1e-45;
    }
    expect(addon.allFinite(vector)).toBe(true);
  }
});

it('touches every number that an update would: once changes all of them, twice none', () => {
  const { vectors, segments } = randomCase(1, 3, 1000);
  const { weights, velocity, gradients, accumulators } = vectors;
  const runs = Float64Array.from(segments.flatMap(({ range }) => [...range, 1, 0, 0.1]));
  const work = {
    ...{ weights, velocity, gradients, ...accumulators, runs },
    ...{ momentum: 0, nesterov: false, measuredDecay: 0 },
  };
  const before = copy(vectors);
  addon.touch(work);
  const inSegment = new Array<boolean>(1000).fill(false);
  for (const { range } of segments) inSegment.fill(true, ...range);
  for (const [now, then] of [
    [weights, before.weights],
    [velocity, before.velocity],
    [accumulators.S, before.accumulators.S],
    [accumulators.A, before.accumulators.A],
  ]) {
    expect(Array.from(now, (x, i) => !Object.is(x, then[i]))).toEqual(inSegment);
  }
  addon.touch(work);
  expect(copy(vectors)).toEqual(before);
});

describe('an update that is not one', () => {
  const vectors = () => ({ weights: new Float32Array(8), velocity: new Float32Array(8) });
  const valid = () => ({
    ...vectors(),
    gradients: [new Float32Array(8).fill(1), new Float32Array(8).fill(1)],
    runs: Float64Array.of(0, 8, 1, 0, 0.1),
    ...{ momentum: 0.9, nesterov: false, measuredDecay: 0 },
  });
  const refuse = (change: object) => {
    const update = { ...valid(), ...change } as RunUpdate;
    try {
      addon.update(update);
    } catch (error) {
      if (update.weights instanceof Float32Array) expect(update.weights.every((w) => w === 0)).toBe(true);
      return `${error}`;
    }
    return 'accepted';
  };
  const run = (...numbers: number[]) => ({ runs: Float64Array.from(numbers) });

  it.each([
    [{}, 'accepted'],
    [{ weights: undefined }, 'TypeError: weights: expected a Float32Array, got undefined'],
    [{ weights: new Float64Array(8) }, 'TypeError: weights: expected a Float32Array, got a Float64Array'],
    [
      { weights: new SharedArrayBuffer(32) },
      'TypeError: weights: expected a Float32Array, got a SharedArrayBuffer',
    ],
    [{ weights: new Float32Array(7) }, 'RangeError: weights: expected 8 numbers, got 7'],
    [{ velocity: new Float32Array(9) }, 'RangeError: velocity: expected 8 numbers, got 9'],
    [{ gradients: new Float32Array(8) }, 'TypeError: gradients: expected an array, got a Float32Array'],
    [{ gradients: [] }, 'RangeError: gradients: expected at least one vector, got none'],
    [
      { gradients: [new Float32Array(8), [1]] },
      'TypeError: gradients[1]: expected a Float32Array, got an Array',
    ],
    [
      { gradients: [new Float32Array(8), new Float32Array(6)] },
      'RangeError: gradients[1]: expected 8 numbers, got 6',
    ],
    [{ S: new Float32Array(8) }, 'TypeError: A: expected a Float32Array, got undefined'],
    [{ A: new Float32Array(8) }, 'TypeError: S: expected a Float32Array, got undefined'],
    [{ momentum: '0.9' }, 'TypeError: momentum: expected a number, got a string'],
    [{ nesterov: 1 }, 'TypeError: nesterov: expected a boolean, got 1'],
    [run(0, 8, 1, 0), 'RangeError: runs: expected five numbers for each, got 4 numbers'],
    [
      run(0, 8, 1, 0, 1, 4, 9, 1, 0, 1),
      'RangeError: runs[1]: expected whole numbers 0 <= start <= end <= 8, got 4 to 9',
    ],
    [run(-1, 8, 1, 0, 1), 'RangeError: runs[0]: expected whole numbers 0 <= start <= end <= 8, got -1 to 8'],
    [
      run(0.5, 8, 1, 0, 1),
      'RangeError: runs[0]: expected whole numbers 0 <= start <= end <= 8, got 0.5 to 8',
    ],
    [run(5, 4, 1, 0, 1), 'RangeError: runs[0]: expected whole numbers 0 <= start <= end <= 8, got 5 to 4'],
    [
      run(Number.NaN, 4, 1, 0, 1),
      'RangeError: runs[0]: expected whole numbers 0 <= start <= end <= 8, got NaN to 4',
    ],
  ])('%o: %s', (change, message) => {
    expect(refuse(change)).toBe(message);
  });

  it('is refused before any number is written, by all calls', () => {
    const call = addon as unknown as Record<string, (...values: unknown[]) => unknown>;
    const vector = new Float32Array(4);
    expect(() => call.update()).toThrow(new TypeError('update: expected an object, got undefined'));
    expect(() => call.touch(null)).toThrow(new TypeError('update: expected an object, got null'));
    expect(() => call.allFinite([1])).toThrow(new TypeError('vector: expected a Float32Array, got an Array'));
    expect(() => call.squaredNorms([vector], Float64Array.of(0, 5), new Float64Array(1))).toThrow(
      new RangeError('ranges[0]: expected whole numbers 0 <= start <= end <= 4, got 0 to 5'),
    );
    expect(() => call.squaredNorms([vector], Float64Array.of(0), new Float64Array(1))).toThrow(
      new RangeError('ranges: expected two numbers for each, got 1 numbers'),
    );
    expect(() => call.squaredNorms([vector], Float64Array.of(0, 1), new Float64Array(2))).toThrow(
      new RangeError('norms: expected 1 numbers, got 2'),
    );
  });
});
