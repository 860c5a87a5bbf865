// Whole models against torch.nn and autograd in Python: fixtures/make-models.py has what was recorded.

import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect } from 'vitest';
import type { ModelName } from '../../../src/config/schema.ts';
import type { Vector } from '../../../src/engines/torch/addon.ts';
import { planOf } from '../../../src/engines/torch/plan.ts';
import type { Graph } from '../../../src/models/graph.ts';
import { buildModel } from '../../../src/models/index.ts';
import { initialStatistics } from '../../../src/models/initialise.ts';
import { normalisation, randomParameters, randomSplit, relativeDifference } from '../fixtures.ts';
import { addon, it } from './fixtures.ts';

/** Norm, product with a direction, first and last element: in the flat vector's order. */
type Sketch = readonly [number, number, number, number];

interface Recorded {
  readonly width: number;
  readonly seed: number;
  /** Of the model at width 1. */
  readonly parameters: number;
  /** Of a training pass of the two samples. */
  readonly logits: readonly (readonly number[])[];
  readonly loss: number;
  readonly gradient: Readonly<Record<string, { shape: readonly number[]; sketch: Sketch }>>;
  /** Running statistics behind that pass. */
  readonly statistics: Readonly<Record<string, Sketch>>;
  /** Logits of both with those statistics. */
  readonly evaluated?: readonly (readonly number[])[];
  /** Logits of a training pass of the first sample alone. */
  readonly alone: readonly number[];
}

const SAMPLES = 2;
const CLASSES = 10;
const file = new URL('./fixtures/models.json', import.meta.url);
const models = Object.entries(JSON.parse(readFileSync(file, 'utf8')).models) as [ModelName, Recorded][];

interface Result {
  readonly loss: number;
  readonly gradient: Vector;
  readonly statistics: Vector;
  readonly evaluated: readonly (readonly number[])[];
  readonly alone: readonly number[];
}

/** As tested, node by node; or as in training, with fused steps and fast convolutions. */
type Precision = 'float64' | 'float32';

function createReplica(graph: Graph, precision: Precision, start: Float32Array) {
  const vector = (values: Float32Array): Vector =>
    precision === 'float64' ? Float64Array.from(values) : values;
  const parameters = vector(start);
  const gradient = vector(new Float32Array(graph.parameterLength));
  const statistics = vector(initialStatistics(graph));
  const replica = new addon.Replica({
    plan: planOf(graph, { fuse: precision === 'float32' }),
    ...{ device: 'cpu', ...normalisation },
    ...{ parameters, gradient, statistics, labelSmoothing: 0, profiled: false },
  });
  return { replica, gradient, statistics };
}

/** What the fixture records, by the engine; logits as log-softmax. */
function run(graph: Graph, { seed, evaluated }: Recorded, precision: Precision, start: Float32Array): Result {
  const { replica, gradient, statistics } = createReplica(graph, precision, start);
  const { images, labels } = randomSplit(seed, SAMPLES, CLASSES);
  const { lossSum } = replica.gradient([{ images, labels, indices: Uint32Array.of(0, 1) }], SAMPLES);
  const result = { loss: lossSum / SAMPLES, gradient: gradient.slice(), statistics: statistics.slice() };

  // The loss of one sample is -log of one softmax: the label's.
  const evaluatedLogSoftmax = (sample: number) =>
    Array.from({ length: CLASSES }, (_, label) => {
      const claimed = new Uint8Array(SAMPLES).fill(label);
      return -replica.evaluate({ images, labels: claimed, indices: Uint32Array.of(sample) }).lossSum;
    });
  const evaluation = evaluated?.map((_, sample) => evaluatedLogSoftmax(sample)) ?? [];

  // The gradient of the last bias is softmax - target.
  replica.gradient([{ images, labels, indices: Uint32Array.of(0) }], 1);
  const { offset } = graph.layers.at(-1)!.parameters[1];
  const alone = Array.from({ length: CLASSES }, (_, label) =>
    Math.log(gradient[offset + label] + (label === labels[0] ? 1 : 0)),
  );
  replica.dispose();
  return { ...result, evaluated: evaluation, alone };
}

/** The gradient of a pass at the seed's parameters, each moved up or down by `noise` of itself. */
function gradientOf(graph: Graph, seed: number, precision: Precision, noise = 0): Vector {
  // The top bit of Knuth's multiplicative hash: up or down.
  const parameters = randomParameters(graph, seed).map(
    (value, i) => value * (1 + (Math.imul(i, 0x9e3779b1) < 0 ? noise : -noise)),
  );
  const { replica, gradient } = createReplica(graph, precision, parameters);
  const { images, labels } = randomSplit(seed, SAMPLES, CLASSES);
  replica.gradient([{ images, labels, indices: Uint32Array.of(0, 1) }], SAMPLES);
  replica.dispose();
  return gradient;
}

function logSoftmax(logits: readonly number[]): number[] {
  const logSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return logits.map((logit) => logit - logSum);
}

function product(a: Vector, b: Vector): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

const norm = (vector: Vector) => Math.sqrt(product(vector, vector));

/** Largest difference from a recorded sketch, as a share of the tensor's norm, or of `floor` where that is more. */
function differenceFrom(sketch: Sketch, values: Vector, direction: Vector, floor = 0): number {
  const differences = [
    norm(values) - sketch[0],
    (product(values, direction) - sketch[1]) / norm(direction),
    values[0] - sketch[2],
    values[values.length - 1] - sketch[3],
  ];
  return Math.max(...differences.map(Math.abs)) / Math.max(sketch[0], floor);
}

describe.each(models)('%s', (name, recorded) => {
  const { width, seed } = recorded;
  const graph = buildModel({ name, width, classes: CLASSES });
  const tensors = graph.layers.flatMap(({ parameters }) => parameters);
  const expected = {
    loss: recorded.loss,
    alone: logSoftmax(recorded.alone),
    evaluated: recorded.evaluated?.map(logSoftmax) ?? [],
  };
  let double: Result;
  let single: Result;
  let direction: Float32Array;

  beforeAll(() => {
    const start = randomParameters(graph, seed);
    double = run(graph, recorded, 'float64', start);
    single = run(graph, recorded, 'float32', start);
    direction = randomParameters(graph, seed + 1);
  }, 180_000);

  it('has the tensors of torch.nn', () => {
    const recordedTensors = Object.entries(recorded.gradient).map(([name, { shape }]) => ({ name, shape }));
    expect(tensors.map(({ name, shape }) => ({ name, shape }))).toEqual(recordedTensors);
    expect(buildModel({ name, width: 1, classes: CLASSES }).parameterCount).toBe(recorded.parameters);
  });

  it.each([
    ['float64', 1e-9],
    ['float32', 1e-4],
  ] as const)('%s: loss and logits are those of torch to %f', (precision, tolerance) => {
    const { loss, alone, evaluated } = precision === 'float64' ? double : single;
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(tolerance);
    expect(relativeDifference(alone, expected.alone)).toBeLessThan(tolerance);
    expect(evaluated.length).toBe(expected.evaluated.length);
    expect(relativeDifference(evaluated.flat(), expected.evaluated.flat())).toBeLessThan(tolerance);
  });

  it('float64: the last bias has the gradient that the logits of the pass tell', () => {
    const { labels } = randomSplit(seed, SAMPLES, CLASSES);
    const { offset, size } = tensors.at(-1)!;
    const mean = new Float64Array(CLASSES);
    for (const [sample, logits] of recorded.logits.entries()) {
      for (const [label, value] of logSoftmax(logits).entries()) {
        mean[label] += (Math.exp(value) - (label === labels[sample] ? 1 : 0)) / SAMPLES;
      }
    }
    expect(relativeDifference(double.gradient.subarray(offset, offset + size), mean)).toBeLessThan(1e-9);
  });

  it('float64: the gradient of every tensor is that of torch to 1e-9', () => {
    // A bias in front of a batch norm has none but its rounding: 1e-17 of the whole. The least of the others has 2e-5.
    const floor = 1e-6 * norm(double.gradient);
    const differences = tensors.map(({ name, offset, size }) => {
      const [values, along] = [double.gradient, direction].map((all) => all.subarray(offset, offset + size));
      return { name, difference: differenceFrom(recorded.gradient[name].sketch, values, along, floor) };
    });
    expect(differences.filter(({ difference }) => !(difference < 1e-9))).toEqual([]);
  });

  it('float64: the running statistics of every batch norm are those of torch to 1e-9', () => {
    const differences = graph.nodes.flatMap((node) => {
      if (node.op !== 'batchNorm') return [];
      const { offset, size } = node.layer!.parameters[1];
      const along = direction.subarray(offset, offset + size);
      return ['running_mean', 'running_var'].map((kind, i) => {
        const start = node.statisticsOffset + i * size;
        const values = double.statistics.subarray(start, start + size);
        const name = `${node.name}.${kind}`;
        return { name, difference: differenceFrom(recorded.statistics[name], values, along) };
      });
    });
    expect(differences.length).toBe(Object.keys(recorded.statistics).length);
    expect(differences.filter(({ difference }) => !(difference < 1e-9))).toEqual([]);
  });

  it('float32: gradient and running statistics are those of float64', () => {
    expect(relativeDifference(single.statistics, double.statistics)).toBeLessThan(1e-4);
    // Behind the last ReLU nothing is undecided.
    const { offset } = graph.layers.at(-1)!.parameters[0];
    const [last, lastDouble] = [single, double].map(({ gradient }) => gradient.subarray(offset));
    expect(relativeDifference(last, lastDouble)).toBeLessThan(1e-4);
    // In front of it up to a million decisions are, of which rounding turns some: noise of 6e-7 in the parameters moves
    // the whole gradient by up to 0.04 (vgg19, resnet18, resnet34), 0.06 (resnet50), 0.12 (resnet101), whatever the
    // seed of the last two. The test below is sharper.
    expect(relativeDifference(single.gradient, double.gradient)).toBeLessThan(0.2);
  });
});

/**
 * The first seed whose gradient in float32 does not hang on a ReLU or max pool that rounding decides, found in float32
 * alone; see ../models.test.ts.
 */
function seedWithoutNearTie(graph: Graph): number {
  for (let seed = 0; seed < 20; seed++) {
    const gradient = gradientOf(graph, seed, 'float32');
    const moves = (noise: number) =>
      relativeDifference(gradientOf(graph, seed, 'float32', noise), gradient) > 1e-4;
    if (![1e-7, 3e-7, 6e-7].some(moves)) return seed;
  }
  throw new Error(`no seed of ${graph.name} is without near-ties`);
}

// At width 0.5 the fast convolutions serve every layer; at 0.25 with the longest vectors all but the first stage's. No
// seed of twenty is without near-ties for resnet34 at 0.5, nor for resnet50 and resnet101 at 0.25.
it.each([
  ['vgg19', 0.25],
  ['resnet18', 0.5],
  ['resnet34', 0.25],
] as const)('%s, width %f: the gradient in float32 is that in float64 to 1e-4', (name, width) => {
  const graph = buildModel({ name, width, classes: CLASSES });
  const seed = seedWithoutNearTie(graph);
  const [single, double] = (['float32', 'float64'] as const).map((precision) =>
    gradientOf(graph, seed, precision),
  );
  expect(relativeDifference(single, double), `seed ${seed}`).toBeLessThan(1e-4);
});
