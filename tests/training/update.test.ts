import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildModel } from '../../src/models/index.ts';
import {
  addUp,
  allFinite,
  clipFactor,
  intersect,
  type Segment,
  segmentsOf,
  shardOf,
  squaredNorms,
  tensorsOf,
  type UpdateOptions,
  update,
} from '../../src/training/update.ts';

const sgd = {
  learningRate: 0.1,
  momentum: 0.9,
  weightDecay: 0.01,
  nesterov: false,
  clipScale: 1,
  measureWeightDecay: false,
};

describe('update', () => {
  it('does two steps of SGD with momentum and weight decay, worked out by hand', () => {
    const vectors = {
      weights: Float32Array.of(1, -2),
      velocity: new Float32Array(2),
      gradients: [Float32Array.of(0.25, 1), Float32Array.of(0.25, -3)],
      accumulators: { S: new Float32Array(2), A: new Float32Array(2) },
    };
    const segments = [
      { range: [0, 1], tensor: 0, gradientFactor: 1, rateFactor: 1 },
      { range: [1, 2], tensor: 1, gradientFactor: 2, rateFactor: 1 },
    ] as const;
    update(vectors, segments, sgd);
    // d = [0.5 + 0.01, 2 * -2 - 0.02] = v
    expect(vectors.velocity).toEqual(Float32Array.of(0.51, -4.02));
    expect(vectors.weights).toEqual(Float32Array.of(1 - 0.051, -2 + 0.402));
    vectors.gradients[1].set([-0.75, -1]);
    update(vectors, segments, sgd);
    // d = [-0.5 + 0.00949, 0 - 0.01598], v = 0.9 v + d
    expect(vectors.velocity[0]).toBeCloseTo(0.9 * 0.51 - 0.5 + 0.00949, 6);
    expect(vectors.velocity[1]).toBeCloseTo(0.9 * -4.02 - 0.01598, 5);
    expect(vectors.weights[0]).toBeCloseTo(0.949 - 0.1 * (0.459 - 0.49051), 6);
    // The raw gradients, before the factor and weight decay: 0.5, -0.5 and -2, 0.
    expect(vectors.accumulators.S).toEqual(Float32Array.of(0, -2));
    expect(vectors.accumulators.A).toEqual(Float32Array.of(1, 2));
  });

  it('equals a plain loop over all numbers, however many shards and workers there are', () => {
    const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
    const { parameterLength: length } = graph;
    const chosen = ['layer1.0.conv1', 'bn1', 'linear'];
    const values = (salt: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + salt));
    const factors = new Float64Array(length);
    for (const layer of graph.layers) {
      const factor = chosen.includes(layer.name) ? 2 : 1;
      for (const { offset, size } of layer.parameters) factors.fill(factor, offset, offset + size);
    }
    for (const worldSize of [1, 2, 3, 5]) {
      const gradients = Array.from({ length: worldSize }, (_, rank) => values(rank + 3));
      const vectors = { weights: values(1), velocity: values(2), gradients };
      const expected = { weights: values(1), velocity: values(2) };
      for (let i = 0; i < length; i++) {
        if (factors[i] === 0) continue; // padding stays as it is
        const g = gradients.reduce((sum, gradient) => sum + gradient[i], 0);
        const v = 0.9 * expected.velocity[i] + factors[i] * g + 0.01 * expected.weights[i];
        expected.velocity[i] = v;
        expected.weights[i] -= 0.1 * v;
      }
      for (let rank = 0; rank < worldSize; rank++) {
        const segments = segmentsOf(
          graph,
          shardOf(length, rank, worldSize),
          new Map(chosen.map((name) => [name, 2])),
          'gradient',
        );
        update(vectors, segments, sgd);
      }
      const difference = (a: Float32Array, b: Float32Array) =>
        Math.max(...a.map((x, i) => Math.abs(x - b[i])));
      expect(difference(vectors.weights, expected.weights)).toBeLessThan(1e-6);
      expect(difference(vectors.velocity, expected.velocity)).toBeLessThan(1e-6);
    }
  });
});

describe('one step from w = 2, v = 0.5 with a gradient of 3', () => {
  const step = (options: Partial<UpdateOptions>, segment: Partial<Segment> = {}) => {
    const vectors = {
      weights: Float32Array.of(2),
      velocity: Float32Array.of(0.5),
      gradients: [Float32Array.of(3)],
      accumulators: { S: Float32Array.of(0), A: Float32Array.of(0) },
    };
    update(vectors, [{ range: [0, 1], tensor: 0, gradientFactor: 1, rateFactor: 1, ...segment }], {
      ...sgd,
      ...options,
    });
    return { w: vectors.weights[0], v: vectors.velocity[0], S: vectors.accumulators.S[0] };
  };

  it('is plain SGD by default: d = 3.02, v = 3.47', () => {
    expect(step({}).v).toBeCloseTo(3.47, 6);
    expect(step({}).w).toBeCloseTo(2 - 0.347, 6);
  });

  it('looks ahead with Nesterov: d + 0.9 v', () => {
    expect(step({ nesterov: true }).v).toBeCloseTo(3.47, 6);
    expect(step({ nesterov: true }).w).toBeCloseTo(2 - 0.1 * (3.02 + 0.9 * 3.47), 6);
  });

  it('clips before it amplifies, and neither touches weight decay or what is measured', () => {
    const { v, S } = step({ clipScale: 0.5 }, { gradientFactor: 2 });
    expect(v).toBeCloseTo(0.45 + 0.5 * 2 * 3 + 0.02, 6);
    expect(step({ clipScale: 0.5 }).v).toBeCloseTo(0.45 + 1.5 + 0.02, 6);
    expect(S).toBe(3);
  });

  it('amplifies the learning rate without touching the momentum', () => {
    const { v, w } = step({}, { rateFactor: 2 });
    expect(v).toBeCloseTo(3.47, 6);
    expect(w).toBeCloseTo(2 - 0.2 * 3.47, 6);
  });

  it('measures the gradient with weight decay where asked to', () => {
    expect(step({ measureWeightDecay: true }).S).toBeCloseTo(3.02, 6);
    expect(step({ measureWeightDecay: true }).w).toBe(step({}).w);
  });
});

it('scales a layer or a single tensor by its name, on the gradient or on the rate', () => {
  const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
  const whole = shardOf(graph.parameterLength, 0, 1);
  const tensors = graph.layers.flatMap(({ parameters }) => parameters);
  for (const quantity of ['gradient', 'learning-rate'] as const) {
    const factors = new Map([
      ['bn1.bias', 0],
      ['conv1', 3],
    ]);
    const segments = segmentsOf(graph, whole, factors, quantity);
    const [scaled, other] =
      quantity === 'gradient'
        ? (['gradientFactor', 'rateFactor'] as const)
        : (['rateFactor', 'gradientFactor'] as const);
    for (const [tensor, segment] of segments.entries()) {
      const { name } = tensors[tensor];
      expect(segment.tensor).toBe(tensor);
      expect(segment[scaled], name).toBe(name === 'conv1.weight' ? 3 : name === 'bn1.bias' ? 0 : 1);
      expect(segment[other], name).toBe(1);
    }
  }
});

it('sums the squared norms of the tensors of the reduced gradient over shards', () => {
  const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
  const gradients = [1, 2].map((salt) =>
    Float32Array.from({ length: graph.parameterLength }, (_, i) => Math.sin(i + salt)),
  );
  const tensors = tensorsOf(graph);
  const parts = [0, 1, 2].map((rank) => {
    // What an earlier step left is replaced.
    const norms = new Float64Array(tensors.length).fill(7);
    squaredNorms(
      gradients,
      segmentsOf(graph, shardOf(graph.parameterLength, rank, 3), new Map(), 'gradient'),
      norms,
    );
    return norms;
  });
  const total = addUp(parts);
  expect(total).toHaveLength(tensors.length);
  let whole = 0;
  for (const [tensor, { name, offset, size }] of tensors.entries()) {
    let expected = 0;
    for (let i = offset; i < offset + size; i++) expected += (gradients[0][i] + gradients[1][i]) ** 2;
    expect(total[tensor], name).toBeCloseTo(expected, 6);
    whole += expected;
  }
  expect(clipFactor(total, 1)).toBeCloseTo(1 / Math.sqrt(whole), 9);
  expect(clipFactor(total, 1e6)).toBe(1);
});

it('cuts any vector into contiguous shards on 64-byte boundaries', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 1, max: 16 }), (length, worldSize) => {
      const shards = Array.from({ length: worldSize }, (_, rank) => shardOf(length, rank, worldSize));
      expect(shards[0][0]).toBe(0);
      expect(shards[worldSize - 1][1]).toBe(length);
      for (const [rank, [start, end]] of shards.entries()) {
        expect(start % 16).toBe(0);
        expect(end - start).toBeLessThan(length / worldSize + 32);
        if (rank > 0) expect(start).toBe(shards[rank - 1][1]);
      }
    }),
  );
});

it('intersects ranges, empty where they do not overlap', () => {
  expect(intersect([0, 10], [5, 20])).toEqual([5, 10]);
  const [start, end] = intersect([0, 10], [20, 30]);
  expect(start).toBe(end);
});

it('finds a single number that is not finite', () => {
  const vector = new Float32Array(1000).fill(3e38);
  expect(allFinite(vector)).toBe(true);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    vector[997] = bad;
    expect(allFinite(vector)).toBe(false);
  }
});
