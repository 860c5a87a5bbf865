// What is refused before a replica is made: batches that the data do not fill, passes that do not fit.

import * as os from 'node:os';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { buildModel } from '../../src/models/index.ts';
import { estimateEvaluationBytes, estimatePassBytes } from '../../src/models/summary.ts';
import { deviceBytes } from '../../src/parallel/device-memory.ts';
import { checkEvaluationSize, checkpointBytes, checkSizes, trainingNeeds } from '../../src/parallel/sizes.ts';
import { takeSnapshot } from '../../src/parallel/snapshot.ts';
import { createStore, storeBytes } from '../../src/parallel/store.ts';
import { NO_PROGRESS } from '../../src/training/run-state.ts';
import { testConfig } from './fixtures.ts';

vi.mock('node:os', { spy: true });

const size = { train: { size: 50_000 } };
const setUp = (changes: Record<string, unknown>) => {
  const config = testConfig({ model: 'resnet18', batchSize: 128, ...changes });
  return { config, graph: buildModel({ ...config.model, classes: 10 }) };
};

test('an evaluation pass of a ResNet-18 needs what its widest layers hold, not what training keeps for the way back', () => {
  const { graph } = setUp({});
  // A block of 64 x 32 x 32 floats an image; a convolution has input, output and twice that in scratch, and the
  // shortcut is kept: five of them, and 1.2 times that is taken. 512 images more, so that constants cancel.
  const images = 512;
  const block = 4 * 64 * 32 * 32;
  const growth = estimateEvaluationBytes(graph, 1 + images) - estimateEvaluationBytes(graph, 1);
  expect(growth / images / block).toBeCloseTo(1.2 * 5, 6);
  expect(estimatePassBytes(graph, images)).toBeGreaterThan(3 * estimateEvaluationBytes(graph, images));
});

test('a pass too large for training may be evaluated, and a larger one may not', () => {
  const { config, graph } = setUp({ batchSize: 800, amplification: 'none' });
  expect(() => checkSizes(config, 'tfjs', size, graph)).toThrow(
    /^model resnet18: expected passes of 800 images to fit the 4\.0 GiB of backend wasm, .* set microBatch: \d+$/,
  );
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).not.toThrow();
  const larger = setUp({ batchSize: 8000 });
  expect(() => checkEvaluationSize(larger.config, 'tfjs', larger.graph)).toThrow(
    /^model resnet18: expected passes of 8000 images to fit the 4\.0 GiB of backend wasm, but they need about 11\.\d GiB; set microBatch: 2000$/,
  );
});

test('the engine torch has no limit beside the machine', () => {
  const { config, graph } = setUp({ batchSize: 8000 });
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).toThrow(/backend wasm/);
  // 11 GiB, which a small machine has not.
  const complaint = (() => {
    try {
      checkEvaluationSize(config, 'torch', graph);
      return '';
    } catch (error) {
      return String(error);
    }
  })();
  expect(complaint).not.toContain('backend');
});

describe('on GPUs', () => {
  const gpu = (gibibytes: number) => ({
    name: `GPU ${gibibytes}`,
    memoryBytes: gibibytes * 2 ** 30,
    computeCapability: [9, 0] as const,
    multiprocessors: 132,
  });
  const onGpu = (changes: Record<string, unknown>) =>
    setUp({ engine: 'torch', devices: ['cuda:0'], ...changes });

  test("a worker needs vectors, data, passes and the libraries' own, each of them once, and the context once a device", () => {
    const { config, graph } = onGpu({ model: 'resnet8', amplification: 'none' });
    const needs = (devices: string[], changes: Record<string, unknown> = {}) => ({
      ...trainingNeeds({ ...config, devices, ...changes }, 1000),
      passBytes: (_: unknown, samples: number, elementBytes: number) => 1e6 * samples * elementBytes,
    });
    const { parameterLength: length, statisticsLength } = graph;
    const own = 128 * 2 ** 20 + 4 * statisticsLength + 1000 * 3073;
    const context = 512 * 2 ** 20;
    const plain = own + 12 * length + 4e6 * 64;
    expect([...deviceBytes(graph, 64, needs(['cuda:0']))]).toEqual([['cuda:0', context + plain]]);
    expect([...deviceBytes(graph, 64, needs(['cuda:1', 'cuda:0', 'cuda:1']))]).toEqual([
      ['cuda:1', context + 2 * plain],
      ['cuda:0', context + plain],
    ]);
    const amplified = needs(['cuda:0'], { amplification: {}, precision: 'bfloat16' });
    expect(deviceBytes(graph, 64, amplified).get('cuda:0')).toBe(context + own + 22 * length + 2e6 * 64);
    const tf32 = needs(['cuda:0'], { precision: 'tf32' });
    expect(deviceBytes(graph, 64, tf32).get('cuda:0')).toBe(context + plain);
  });

  test('activations in bfloat16 take half of those in float32', () => {
    const { graph } = onGpu({ model: 'resnet101' });
    const perImage = (elementBytes: number) =>
      estimatePassBytes(graph, 2, elementBytes) - estimatePassBytes(graph, 1, elementBytes);
    expect(perImage(2)).toBeCloseTo(perImage(4) / 2, 3);
  });

  test('what does not fit the memory of one is told, with passes that would', () => {
    const check = (changes: Record<string, unknown>, ...gpus: number[]) => {
      const { config, graph } = onGpu({ model: 'resnet101', batchSize: 512, ...changes });
      return () => checkSizes(config, 'torch', size, graph, { gpus: () => gpus.map(gpu) });
    };
    expect(check({}, 40)).not.toThrow();
    expect(check({}, 16)).toThrow(
      /^model resnet101: expected a worker to fit the 16\.0 GiB of cuda:0 \(GPU 16\), but it needs about 2\d\.\d GiB; set microBatch: 256$/,
    );
    expect(check({ precision: 'bfloat16' }, 16)).not.toThrow();
    expect(check({ devices: ['cuda:0', 'cuda:1'] }, 40, 8)).toThrow(
      /expected a worker to fit the 8\.0 GiB of cuda:1 \(GPU 8\), .*; set microBatch: 128$/,
    );
    expect(check({ devices: ['cuda:0', 'cuda:0'], batchSize: 1024 }, 40)).toThrow(
      /expected 2 workers to fit the 40\.0 GiB of cuda:0 \(GPU 40\), but they need about 4\d\.\d GiB; set microBatch: 256$/,
    );
    expect(check({}, 1)).toThrow(/; use a smaller width$/);
  });

  test('an evaluation is that of one worker, and the memory of the machine does not count activations', () => {
    const images = Math.ceil(os.totalmem() / (4 * 64 * 32 * 32));
    const { config, graph } = onGpu({ batchSize: images, devices: ['cuda:1', 'cuda:0'] });
    const check = (...gpus: number[]) => checkEvaluationSize(config, 'torch', graph, () => gpus.map(gpu));
    expect(() => check(1, 1e6)).not.toThrow();
    expect(() => check(1e6, 1)).toThrow(/^model resnet18: expected a worker to fit the 1\.0 GiB of cuda:1 /);
    const train = { train: { size: images } };
    expect(() =>
      checkSizes(config, 'torch', train, graph, { gpus: () => [gpu(1e6), gpu(1e6)] }),
    ).not.toThrow();
  });
});

test('more batches for a step than an epoch has, and steps to record that the run has not, are told', () => {
  const check = (changes: Record<string, unknown>) => () => {
    const { config, graph } = setUp({ model: 'resnet8', validation: 10_000, ...changes });
    checkSizes(config, 'tfjs', size, graph);
  };
  expect(check({ accumulate: 312, dumpGradients: [2, 9] })).not.toThrow();
  expect(check({ accumulate: 313 })).toThrow(
    /^accumulate: expected at most the 312 batches of 128 in 40000 training images, got 313; accumulate fewer or use a smaller batch$/,
  );
  // 40,000 images are 313 steps of 128.
  expect(check({ dumpGradients: [313, 999] })).not.toThrow();
  expect(check({ dumpGradients: [314, 999] })).toThrow(
    /^dumpGradients: expected a first step among the 313 of the run, got 314; name earlier steps$/,
  );
});

test('with synchronised batch norms the batch is to be smaller, since a pass is a share of it', () => {
  const passes = { model: 'resnet101', batchSize: 240, devices: ['cpu', 'cpu'] };
  const check = (changes: Record<string, unknown>) => () => {
    const { config, graph } = setUp({ ...passes, ...changes });
    checkSizes(config, 'tfjs', size, graph);
  };
  expect(check({})).toThrow(/; set microBatch: 60$/);
  expect(check({ syncBatchNorm: true })).toThrow(/; set batchSize: 120$/);
  expect(check({ syncBatchNorm: true, batchSize: 120 })).not.toThrow();
});

test('a machine with too little memory is told', () => {
  // Backend cpu has no limit of its own.
  const images = Math.ceil(os.totalmem() / (4 * 64 * 32 * 32));
  const { config, graph } = setUp({ batchSize: images, backend: 'cpu' });
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).toThrow(
    /^model resnet18: expected a worker to fit the .* GiB of this machine, but it needs about .* GiB; evaluate it on a machine with more$/,
  );
  expect(() => checkSizes(config, 'tfjs', { train: { size: images } }, graph)).toThrow(
    /expected a worker to fit .*; use fewer devices, a smaller microBatch or a smaller width$/,
  );
});

test.each([
  ['analyses', {}, 3],
  ['amplifies nothing', { amplification: 'none' }, 3],
  ['holds images out, and so has a second file', { validation: 1000 }, 4],
])('the checkpoints of a run that %s may hold copies of all that it remembers', (_, changes, copies) => {
  const { config, graph } = setUp({ model: 'resnet8', devices: ['cpu', 'cpu'], ...changes });
  const { vectors } = takeSnapshot(createStore(graph, config), { ...NO_PROGRESS, step: 1 }, true);
  const { weights, velocity, statistics, accumulators } = vectors;
  const all = [weights, velocity, ...statistics, ...Object.values(accumulators ?? {})];
  const bytes = all.reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(checkpointBytes(graph, config)).toBe(copies * bytes);
});

test('memory counts for checkpoints where they are written', () => {
  const { config, graph } = setUp({ model: 'resnet8', batchSize: 8, engine: 'torch' });
  const without = storeBytes(graph, config) + estimatePassBytes(graph, 8);
  const memory = vi.spyOn(os, 'totalmem');
  onTestFinished(() => memory.mockRestore());
  const check = (checkpoints: boolean) => () => checkSizes(config, 'torch', size, graph, { checkpoints });
  memory.mockReturnValue(without + checkpointBytes(graph, config));
  expect(check(true)).not.toThrow();
  memory.mockReturnValue(without + checkpointBytes(graph, config) - 1);
  expect(check(true)).toThrow(/^model resnet8: expected a worker to fit the .* GiB of this machine/);
  memory.mockReturnValue(without);
  expect(check(false)).not.toThrow();
});
