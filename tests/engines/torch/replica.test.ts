// The native replica beside what all engines promise: against libtorch's own operations in float64, over blocks and
// threads of work; label smoothing, augmentation; and what its border refuses.

import { describe, expect } from 'vitest';
import { augment } from '../../../src/data/augmentation.ts';
import type { NativeBatch, NativeReplicaOptions, Vector } from '../../../src/engines/torch/addon.ts';
import { planOf } from '../../../src/engines/torch/plan.ts';
import { type Graph, GraphBuilder } from '../../../src/models/graph.ts';
import { buildModel } from '../../../src/models/index.ts';
import { initialParameters, initialStatistics } from '../../../src/models/initialise.ts';
import { batchOf, normalisation, randomSplit, relativeDifference } from '../fixtures.ts';
import { loadEngine } from '../load.ts';
import { addon, it } from './fixtures.ts';

const SEED = 3;

const small = (() => {
  const g = new GraphBuilder('small');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 16 });
  const y = g.relu(g.batchNorm('bn', g.conv2d('conv', x, { filters: 4, kernel: 1 })));
  return g.build(g.linear('linear', g.flatten(g.averagePool(y, { kernel: 2 })), { features: 3 }));
})();

/** Whole images, so that one convolution has more tiles than a block of work, and blocks have a rest. */
const wide = (() => {
  const g = new GraphBuilder('wide');
  const x = g.relu(
    g.batchNorm('bn', g.conv2d('first', g.input([32, 32, 3]), { filters: 32, kernel: 3, padding: 1 })),
  );
  const y = g.conv2d('winograd', x, { filters: 64, kernel: 3, padding: 1, bias: true });
  const z = g.conv2d('strided', y, { filters: 32, kernel: 3, stride: 2, padding: 1, bias: true });
  return g.build(g.linear('linear', g.flatten(g.averagePool(z, { kernel: 16 })), { features: 10 }));
})();

/** A value that is computed again is read by another such, and both by convolutions. */
const chain = (() => {
  const g = new GraphBuilder('chain');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 8 });
  const convolve = (name: string, from: typeof x) =>
    g.conv2d(name, from, { filters: 6, kernel: 3, padding: 1 });
  const first = g.relu(g.batchNorm('bn1', convolve('first', x)));
  const second = g.relu(g.batchNorm('bn2', first));
  // In this order the backward sweep needs the first value, makes it and drops it, before the second.
  const behindSecond = convolve('behind second', second);
  const sum = g.add(behindSecond, convolve('behind first', first));
  return g.build(g.linear('linear', g.flatten(g.averagePool(sum, { kernel: 4 })), { features: 10 }));
})();

/** The gradient of two values is one piece of memory, which they see in other shapes. */
const sharing = (() => {
  const g = new GraphBuilder('sharing');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 32 });
  const branch = (name: string) => {
    const y = g.conv2d(name, x, { filters: 6, kernel: 1 });
    return g.flatten(g.relu(g.batchNorm(`${name} bn`, y)));
  };
  return g.build(g.linear('linear', g.add(branch('a'), branch('b')), { features: 10 }));
})();

/** With all values in place and of one type: `fuse` is for float32 alone. */
function create(graph: Graph, type: 'float32' | 'float64', changes: Partial<NativeReplicaOptions> = {}) {
  const vector = (values: Float32Array | number): Vector =>
    type === 'float32' ? new Float32Array(values as never) : new Float64Array(values as never);
  const options: NativeReplicaOptions = {
    plan: planOf(graph, { fuse: type === 'float32' }),
    ...{ device: 'cpu', ...normalisation, labelSmoothing: 0, profiled: false },
    parameters: vector(initialParameters(graph, SEED)),
    gradient: vector(graph.parameterLength),
    statistics: vector(initialStatistics(graph)),
    ...changes,
  };
  return { ...options, replica: new addon.Replica(options) };
}

const nativeBatch = (size: number, classes: number): NativeBatch => {
  const { split, indices } = batchOf(randomSplit(SEED, size, classes));
  return { images: split.images, labels: split.labels, indices };
};

describe('against libtorch in float64', () => {
  it.each([
    ['several blocks of tiles', wide, 10, 2],
    ['several blocks of tiles on one thread', wide, 10, 1],
    ['values computed again from each other', chain, 8, 2],
    ['a gradient that two flattened values share', sharing, 8, 2],
    ['a whole resnet8', buildModel({ name: 'resnet8', width: 1, classes: 10 }), 7, 2],
  ])('%s: the gradient in float32 is the same to 1e-5', (_, graph, samples, threads) => {
    const [single, double] = [create(graph, 'float32'), create(graph, 'float64')];
    const before = addon.threads();
    addon.setThreads(threads);
    const batch = nativeBatch(samples, 10);
    const [a, b] = [single, double].map(({ replica }) => replica.gradient([batch, batch], 2 * samples));
    addon.setThreads(before);
    expect(Math.abs(a.lossSum / b.lossSum - 1)).toBeLessThan(1e-6);
    expect(a.correct).toBe(b.correct);
    expect(relativeDifference(single.gradient, double.gradient)).toBeLessThan(1e-5);
    expect(relativeDifference(single.statistics, double.statistics)).toBeLessThan(1e-6);
  });
});

it('mixes the biased variance of a single value into the running one, by libtorch too', () => {
  const g = new GraphBuilder('one');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 32 });
  const y = g.batchNorm('bn', g.conv2d('conv', x, { filters: 4, kernel: 1 }));
  const graph = g.build(g.linear('linear', g.flatten(y), { features: 3 }));
  for (const type of ['float32', 'float64'] as const) {
    const { replica, statistics } = create(graph, type);
    replica.gradient([nativeBatch(1, 3)], 1);
    for (const variance of statistics.subarray(4)) expect(variance).toBeCloseTo(0.9, 6);
  }
});

describe('as the engine tfjs', () => {
  const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });

  async function gradientOn(name: 'wasm' | 'torch', labelSmoothing: number, augmented: boolean) {
    const engine = await loadEngine(name);
    const [parameters, gradient] = [initialParameters(graph, SEED), new Float32Array(graph.parameterLength)];
    const statistics = initialStatistics(graph);
    const replica = engine.createReplica({
      ...{ graph, normalisation, parameters, gradient, statistics, labelSmoothing },
    });
    const { split, indices } = batchOf(randomSplit(SEED, 6, 10));
    const augmentation = augmented ? augment(SEED, 1, indices) : undefined;
    return { gradient, ...replica.gradient([{ split, indices, augmentation }], 6) };
  }

  it.each([
    ['label smoothing', 0.2, false],
    ['augmentation', 0, true],
  ])('%s', async (_, smoothing, augmented) => {
    const [torch, wasm] = [
      await gradientOn('torch', smoothing, augmented),
      await gradientOn('wasm', smoothing, augmented),
    ];
    expect(Math.abs(torch.lossSum / wasm.lossSum - 1)).toBeLessThan(1e-5);
    expect(relativeDifference(torch.gradient, wasm.gradient)).toBeLessThan(1e-4);
    const plain = await gradientOn('torch', 0, false);
    expect(relativeDifference(torch.gradient, plain.gradient)).toBeGreaterThan(1e-2);
  });
});

it('the same call gives the same bits, with two threads and one', () => {
  const { replica, gradient } = create(wide, 'float32');
  const before = addon.threads();
  for (const threads of [1, 2]) {
    addon.setThreads(threads);
    replica.gradient([nativeBatch(10, 10)], 10);
    const first = gradient.slice();
    replica.gradient([nativeBatch(10, 10)], 10);
    expect(gradient.slice()).toEqual(first);
  }
  addon.setThreads(before);
});

it('an evaluation keeps nothing, where a max pool notes what it chose neither', () => {
  const g = new GraphBuilder('pooled');
  const graph = g.build(
    g.linear('linear', g.flatten(g.maxPool(g.input([32, 32, 3]), { kernel: 32 })), { features: 3 }),
  );
  const { replica } = create(graph, 'float32');
  replica.evaluate(nativeBatch(2, 3));
  expect(replica.memory()).toEqual({ tensors: 0, bytes: 0 });
});

it.each([0, -1, 1025, Number.NaN])('refuses %d threads, where OpenMP would end the process', (count) => {
  const before = addon.threads();
  expect(() => addon.setThreads(count)).toThrow(`count: expected 1 to 1024, got ${count}`);
  expect(addon.threads()).toBe(before);
});

describe('the border', () => {
  const plan = planOf(small, { fuse: true });
  const withStep = (at: number, change: object) => ({
    plan: { ...plan, steps: plan.steps.map((step, index) => (index === at ? { ...step, ...change } : step)) },
  });
  const convolution = plan.steps.findIndex(({ op }) => op === 'conv2d');
  const batchNorm = plan.steps.findIndex(({ op }) => op === 'batchNorm');
  const { parameterLength, statisticsLength } = small;

  it.each([
    [{ parameters: [1] }, 'TypeError: parameters: expected a Float32Array, got an Array'],
    [
      { gradient: new Float64Array(parameterLength) },
      'TypeError: gradient: expected a Float32Array, got a Float64Array',
    ],
    [
      { gradient: new Float32Array(1) },
      `Error: gradient: expected ${parameterLength} numbers, as many as parameters, got 1`,
    ],
    [
      { parameters: new Float32Array(16), gradient: new Float32Array(16) },
      `Error: ${plan.steps[batchNorm]?.name}: expected parameters that lie in the vector of 16`,
    ],
    [
      { statistics: new Float32Array(statisticsLength - 1) },
      `Error: ${plan.steps[batchNorm]?.name}: expected statistics that lie in the vector of ${statisticsLength - 1}`,
    ],
    [{ mean: [1, 2] }, 'RangeError: options.mean: expected 3 numbers, got 2'],
    [{ labelSmoothing: undefined }, 'TypeError: labelSmoothing: expected a number, got undefined'],
    [{ device: 'cuda:0' }, 'TypeError: device: expected cpu, got a string'],
    [{ plan: null }, 'TypeError: plan: expected an object, got null'],
    [withStep(convolution, { inputs: [99] }), 'Error: conv: expected inputs that are values of the plan'],
    [withStep(convolution, { output: -1 }), 'Error: conv: expected an output that is a value of the plan'],
    [withStep(convolution, { weight: undefined }), 'Error: conv: expected a weight, got none'],
    [withStep(convolution, { op: 'deconvolution' }), 'Error: plan: expected an operation, got deconvolution'],
    [{ plan: { ...plan, classes: 4 } }, 'Error: loss: expected a logit for each class of the plan'],
    [
      withStep(convolution, { weight: { offset: 0, size: 1, shape: [] } }),
      'Error: conv: expected parameters of the size of their shape',
    ],
    [
      withStep(convolution, { weight: { offset: 0, size: 12, shape: [4, 4, 1, 1] } }),
      'Error: conv: expected parameters of the size of their shape',
    ],
  ])('refuses a replica with %o', (changes, message) => {
    const attempt = () => {
      try {
        create(small, 'float32', changes as never);
        return 'accepted';
      } catch (error) {
        return `${error}`;
      }
    };
    expect(attempt()).toBe(message);
  });

  it.each([
    { stride: 0 },
    { kernel: 3 },
    { padding: -1 },
    { weight: { offset: 0, size: 4, shape: [4, 1, 1, 1] } },
    { bias: { offset: 0, size: 3, shape: [3] } },
    { shape: [2, 2, 8] },
    { op: 'add' },
    { op: 'flatten' },
  ])('refuses a convolution with %o, which does not fit its input and parameters', (change) => {
    expect(() => create(small, 'float32', withStep(convolution, change) as never)).toThrow(
      'conv: expected inputs and parameters that make an output of its shape',
    );
  });

  it('refuses what is fused in float64', () => {
    expect(() => create(small, 'float64', { plan })).toThrow(/expected float32 vectors for what is fused/);
  });

  it('refuses batches whose parts do not fit, and writes nothing', () => {
    const { replica, gradient } = create(small, 'float32');
    const call = replica as unknown as Record<string, (...values: unknown[]) => unknown>;
    const batch = nativeBatch(4, 3);
    gradient.fill(5);
    const outside = { ...batch, labels: Uint8Array.of(0, 3, 1, 2) };
    const refusals = [
      [() => call.gradient(batch, 4), 'passes: expected an array, got an Object'],
      [() => call.gradient([batch, {}], 4), 'passes[1].images: expected a Uint8Array, got undefined'],
      [() => call.gradient([batch]), 'batchSize: expected a number, got undefined'],
      [() => call.gradient([batch], 0), 'batchSize: expected at least 1, got 0'],
      [() => call.gradient([batch], 4, [1]), 'factors: expected a Float64Array, got an Array'],
      [() => call.gradient([batch], 4, Float64Array.of(1)), 'factors: expected 3 numbers, got 1'],
      [() => call.gradient([outside], 4), 'passes[0]: sample 1: expected a label from 0 to 2, got 3'],
      [() => call.evaluate(outside), 'batch: sample 1: expected a label from 0 to 2, got 3'],
      [() => call.evaluate(), 'batch: expected an object, got undefined'],
    ] as const;
    for (const [attempt, message] of refusals) expect(attempt).toThrow(message);
    expect(gradient.every((value) => value === 5)).toBe(true);
  });

  it('an error inside libtorch is an error of JavaScript, and leaves no tensor behind', () => {
    // Plans that free a value which is still needed: in the forward sweep, in the backward sweep.
    const freed = (at: number, ...values: number[]) => plan.steps.map((_, i) => (i === at ? values : []));
    const { inputs } = plan.steps[plan.steps.findIndex(({ op }) => op === 'linear')]!;
    const x = plan.steps[batchNorm]!.inputs;
    for (const afterForward of [freed(plan.steps.length - 3, ...inputs), freed(batchNorm, ...x)]) {
      const { replica } = create(small, 'float32', { plan: { ...plan, afterForward } });
      for (let i = 0; i < 2; i++)
        expect(() => replica.gradient([nativeBatch(2, 3)], 2)).toThrow(/^libtorch: /);
      expect(replica.memory()).toEqual({ tensors: 0, bytes: 0 });
      expect(replica.evaluate(nativeBatch(2, 3)).lossSum).toBeGreaterThan(0);
    }
  });

  it.each(['parameters', 'gradient', 'statistics'] as const)(
    'refuses to run when %s were transferred',
    (name) => {
      const { replica, ...vectors } = create(small, 'float32');
      const { buffer } = vectors[name];
      structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
      const message = `${name}: expected the memory that the replica was made with`;
      expect(() => replica.gradient([nativeBatch(2, 3)], 2)).toThrow(message);
      expect(() => replica.evaluate(nativeBatch(2, 3))).toThrow(message);
      replica.dispose();
    },
  );

  it('a replica that was disposed of says so', () => {
    const { replica } = create(small, 'float32');
    replica.dispose();
    for (const call of [() => replica.memory(), () => replica.gradient([], 1)]) {
      expect(call).toThrow('expected a replica that is in use, got one that was disposed of');
    }
  });
});
