// Whole runs, from files of images to the run's folder.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LayerSelection, Selection } from '../../src/amplification/selection.ts';
import { loadConfig } from '../../src/config/load.ts';
import { readCifar } from '../../src/data/cifar.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { candidates } from '../../src/models/candidates.ts';
import { buildModel } from '../../src/models/index.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import type { Progress, Reporter } from '../../src/training/reporter.ts';
import { directionalityByDefinition } from '../directionality-reference.ts';
import { groupSetups, testConfig } from '../parallel/fixtures.ts';

const SIZES = { train: 70, test: 30 };
/** Five epochs of four steps, the last of ten images; epochs 2 and 4 are analysed, 3 and 5 amplified. */
const SCHEDULE = [
  [1, 0.05, false, 1],
  [3, 0.05, true, 2],
  [5, 0.01, true, 2],
];
const STEPS_PER_EPOCH = 4;

const folder = mkdtempSync(join(tmpdir(), 'gradamp-training-'));
const dataDir = join(folder, 'data');
beforeAll(() => synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, ...SIZES }));
afterAll(() => rmSync(folder, { recursive: true }));

const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };

/** Trains in a folder of its own; `changes` in the form of a config file. */
async function run(
  name: string,
  changes: Record<string, unknown> = {},
  signal?: AbortSignal,
  reporter = silent,
) {
  const config = testConfig({
    dataDir,
    batchSize: 20,
    microBatch: 5,
    devices: ['cpu', 'cpu'],
    schedule: SCHEDULE,
    amplification: { threshold: 0.5 },
    ...changes,
  });
  const directory = join(folder, name);
  const result = await train(config, { directory, reporter, signal });
  const text = (file: string) => readFileSync(join(directory, file), 'utf8');
  const lines = (file: string) =>
    existsSync(join(directory, file))
      ? text(file)
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line))
      : [];
  return { ...result, directory, text, lines };
}

describe('a run', () => {
  let amplified: Awaited<ReturnType<typeof run>>;
  let original: Awaited<ReturnType<typeof run>>;
  beforeAll(async () => {
    amplified = await run('amplified');
    original = await run('original', { amplification: 'none' });
  });

  it('writes a line of metrics an epoch, with these keys in this order', () => {
    const metrics = amplified.lines('metrics.jsonl');
    expect(Object.keys(metrics[0])).toEqual([
      ...['epoch', 'phase', 'learningRate', 'analysed', 'amplified', 'reduced', 'skippedSteps'],
      ...['trainLoss', 'trainAccuracy', 'validationLoss', 'validationAccuracy', 'testLoss', 'testAccuracy'],
    ]);
    expect(metrics.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5]);
    expect(metrics.map(({ phase }) => phase)).toEqual([1, 2, 2, 3, 3]);
    expect(metrics.map(({ learningRate }) => learningRate)).toEqual([0.05, 0.05, 0.05, 0.01, 0.01]);
    expect(metrics.map(({ analysed }) => analysed)).toEqual([false, true, false, true, false]);
    for (const { testAccuracy } of metrics) expect((testAccuracy * SIZES.test) % 1).toBeCloseTo(0, 9);
  });

  it('amplifies exactly the layers that the last analysis chose, until the next', () => {
    const chosen = amplified
      .lines('selections.jsonl')
      .map(({ layers }: Selection) => layers.filter((layer) => layer.chosen).map(({ name }) => name));
    expect(chosen).toHaveLength(2);
    expect(chosen[0].length).toBeGreaterThan(0);
    const metrics = amplified.lines('metrics.jsonl');
    expect(metrics.map(({ amplified }) => amplified)).toEqual([[], [], chosen[0], [], chosen[1]]);
  });

  it('is the original run until the first amplified epoch, and another from then on', () => {
    const losses = [original, amplified].map((run) =>
      run.lines('metrics.jsonl').map(({ testLoss }) => testLoss),
    );
    expect(losses[1].slice(0, 2)).toEqual(losses[0].slice(0, 2));
    for (const epoch of [3, 4, 5]) expect(losses[1][epoch - 1]).not.toBe(losses[0][epoch - 1]);
    expect(original.lines('selections.jsonl')).toEqual([]);
  });

  it('reports both measures, z, size and spread of every candidate layer', () => {
    const [selection] = amplified.lines('selections.jsonl') as Selection[];
    expect(selection).toMatchObject({
      epoch: 2,
      measure: 'G',
      case: 1,
      threshold: 0.5,
      iterations: STEPS_PER_EPOCH,
    });
    expect(selection.noiseFloor).toBe(0.5);
    const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
    expect(selection.layers.map(({ name, kind, size }) => ({ name, kind, size }))).toEqual(
      candidates(graph).map(({ name, kind, measured }) => ({
        name,
        kind,
        size: measured.reduce((sum, parameter) => sum + parameter.size, 0),
      })),
    );
    const keys = ['name', 'kind', 'size', 'G', 'Gprime', 'z', 'standardError', 'chosen', 'factor'];
    for (const layer of selection.layers) expect(Object.keys(layer).sort()).toEqual([...keys].sort());
    expect(selection.layers.reduce((sum, { z }) => sum + z, 0)).toBeCloseTo(0, 9);
  });

  it('sums itself up', () => {
    const metrics = amplified.lines('metrics.jsonl');
    const accuracies: number[] = metrics.map(({ testAccuracy }) => testAccuracy);
    const best = Math.max(...accuracies);
    expect(JSON.parse(amplified.text('summary.json'))).toMatchObject({
      name: 'amplified',
      finalTestAccuracy: accuracies[4],
      finalValidationAccuracy: null,
      best: {
        chosenOn: 'test',
        epoch: accuracies.indexOf(best) + 1,
        validationAccuracy: null,
        testAccuracy: best,
      },
      epochs: 5,
      parameters: buildModel({ name: 'resnet8', width: 0.25, classes: 10 }).parameterCount,
      engine: 'tfjs',
      backend: 'wasm',
      devices: ['cpu', 'cpu'],
      seeds: { weights: 0, order: 0, augmentation: 0, selection: 0, validation: 0 },
      dataset: 'cifar10',
      synthetic: true,
      stopped: false,
    });
    // Nothing was held out to choose weights by.
    expect(readdirSync(amplified.directory)).not.toContain('best.msgpack');
    const timings = amplified.lines('timings.jsonl');
    expect(timings.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5]);
    for (const { seconds, imagesPerSecond } of timings) {
      // Training is a part of the epoch.
      expect(imagesPerSecond * seconds).toBeGreaterThan(SIZES.train);
    }
  });

  it('is the same to the byte when its own config.yaml is trained again', async () => {
    const config = loadConfig(join(amplified.directory, 'config.yaml'));
    const directory = join(folder, 'again');
    await train(config, { directory, reporter: silent });
    for (const file of ['metrics.jsonl', 'selections.jsonl', 'config.yaml']) {
      expect(readFileSync(join(directory, file))).toEqual(readFileSync(join(amplified.directory, file)));
    }
    const [again, once] = await Promise.all(
      [directory, amplified.directory].map((run) => readCheckpoint(join(run, 'checkpoint.msgpack'))),
    );
    expect(again.vectors).toEqual(once.vectors);
  });

  it('leaves a checkpoint with the trained numbers', async () => {
    const checkpoint = await readCheckpoint(join(amplified.directory, 'checkpoint.msgpack'));
    const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
    const { progress, vectors } = checkpoint;
    expect(progress).toMatchObject({ step: 0, history: amplified.lines('metrics.jsonl') });
    expect(vectors.weights).toBeInstanceOf(Float32Array);
    expect(vectors.weights).toHaveLength(graph.parameterLength);
    expect(vectors.velocity.some((v) => v !== 0)).toBe(true);
    expect(vectors.statistics.map(({ length }) => length)).toEqual([graph.statisticsLength]);
    expect(checkpoint.config).toBe(amplified.text('config.yaml'));
  });
});

describe.each([
  { measure: 'G', case: 1, threshold: 0.4, seed: 11, model: { name: 'resnet8', width: 0.25 }, devices: 2 },
  {
    measure: 'Gprime',
    case: 2,
    threshold: 0.9,
    seed: 12,
    model: { name: 'vgg19', width: 1 / 32 },
    devices: 1,
  },
  { measure: 'G', case: 2, threshold: 0.8, seed: 13, model: { name: 'resnet20', width: 0.25 }, devices: 3 },
])(
  'the choice by $measure, case $case, of $model.name with $devices workers',
  ({ devices, seed, model, ...rule }) => {
    it('equals a double loop over the recorded gradients of the analysis epoch', async () => {
      const { lines, directory, text } = await run(`choice-${seed}`, {
        model,
        seed,
        devices: Array(devices).fill('cpu'),
        schedule: [
          [1, 0.02, false, 1],
          [2, 0.02, true, 2],
        ],
        amplification: rule,
        dumpGradients: [STEPS_PER_EPOCH + 1, 2 * STEPS_PER_EPOCH],
      });
      const { tensors } = JSON.parse(text('gradients/layout.json'));
      const steps = Array.from({ length: STEPS_PER_EPOCH }, (_, i) => {
        const file = `step-00000${STEPS_PER_EPOCH + 1 + i}.f32`;
        const bytes = readFileSync(join(directory, 'gradients', file));
        return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      });
      expect(existsSync(join(directory, 'gradients', `step-00000${STEPS_PER_EPOCH}.f32`))).toBe(false);
      const [selection] = lines('selections.jsonl') as Selection[];
      // Every convolution of these models feeds a batch norm.
      const normalised = new Set(
        selection.layers.flatMap(({ name, kind }) => (kind === 'conv2d' ? [`${name}.bias`] : [])),
      );
      const reference = selection.layers.map(({ name }) => {
        const gradients = tensors
          .filter((tensor: { name: string }) => tensor.name.replace(/\.(weight|bias)$/, '') === name)
          .filter((tensor: { name: string }) => !normalised.has(tensor.name))
          .flatMap(({ offset, size }: { offset: number; size: number }) =>
            Array.from({ length: size }, (_, i) => steps.map((gradient) => gradient[offset + i])),
          );
        return directionalityByDefinition(gradients);
      });
      const values = reference.map((ratios) => ratios[rule.measure as 'G']);
      const mean = values.reduce((sum, value) => sum + value) / values.length;
      const deviation = Math.sqrt(
        values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length,
      );
      for (const [index, layer] of selection.layers.entries()) {
        const z = (values[index] - mean) / deviation;
        expect(Math.abs(layer.G - reference[index].G), layer.name).toBeLessThan(1e-5);
        expect(Math.abs(layer.Gprime - reference[index].Gprime), layer.name).toBeLessThan(1e-5);
        expect(layer.z, layer.name).toBeCloseTo(z, 3);
        expect(layer.chosen, layer.name).toBe((rule.case === 1 ? z : Math.abs(z)) > rule.threshold);
      }
      const chosen = (layer: LayerSelection) => layer.chosen;
      expect(selection.layers.some(chosen)).toBe(true);
      expect(selection.layers.every(chosen)).toBe(false);
    });
  },
);

describe('asked to stop', () => {
  const LONG = { batchSize: 2, microBatch: 1, schedule: [[1, 0.05, false, 1]] };

  it('in the middle of an epoch, ends after the step with what it has', async () => {
    const controller = new AbortController();
    const reporter = { ...silent, update: ({ step }: Progress) => step >= 2 && controller.abort() };
    const { summary, lines, directory } = await run('stopped', LONG, controller.signal, reporter);
    expect(summary).toMatchObject({ stopped: true, epochs: 0, finalTestAccuracy: null });
    expect(lines('metrics.jsonl')).toEqual([]);
    const { progress, vectors } = await readCheckpoint(join(directory, 'checkpoint.msgpack'));
    const { history, step } = progress;
    expect(history).toEqual([]);
    expect(step).toBeGreaterThanOrEqual(2);
    expect(step).toBeLessThan(35);
    // The weights are those behind exactly that many steps.
    const { setups, store } = groupSetups(
      loadConfig(join(directory, 'config.yaml')),
      await readCifar('cifar10', dataDir),
    );
    const workers = new WorkerGroup(setups);
    await workers.all((worker) => worker.start());
    const order = { epoch: 1, learningRate: 0.05, factors: new Map(), analysed: false };
    await workers.all((worker) => worker.train({ ...order, steps: [0, step] }));
    await workers.close();
    expect(store.weights).toEqual(vectors.weights);
    expect(store.velocity).toEqual(vectors.velocity);
    expect(store.statistics).toEqual(vectors.statistics);
  });

  it('between epochs, keeps the complete ones', async () => {
    const controller = new AbortController();
    const reporter = { ...silent, epochEnd: () => controller.abort() };
    const { summary, lines, directory } = await run('stopped-between', {}, controller.signal, reporter);
    expect(summary).toMatchObject({ stopped: true, epochs: 1 });
    expect(lines('metrics.jsonl')).toHaveLength(1);
    const { progress } = await readCheckpoint(join(directory, 'checkpoint.msgpack'));
    expect(progress).toMatchObject({ history: lines('metrics.jsonl'), step: 0 });
  });
});

it('ends with a clear error when training diverges, keeping the metrics', async () => {
  const settings = { schedule: [[3, 1e30, false, 1]], momentum: 0 };
  await expect(run('diverged', settings)).rejects.toThrow(
    /^training diverged: expected finite gradients and losses, got NaN or infinity in \d of the \d steps of epoch 1: .* at step \d of epoch 1; lower the learning rate/,
  );
  const [line, ...others] = readFileSync(join(folder, 'diverged', 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  expect(others).toEqual([]);
  expect(JSON.parse(line)).toMatchObject({ epoch: 1, testLoss: null, testAccuracy: null });
});

describe('refuses, before it writes anything,', () => {
  it.each([
    [
      'a pass that wasm cannot hold',
      { model: { name: 'resnet101', width: 2 }, batchSize: 70, microBatch: undefined, devices: ['cpu'] },
      /^model resnet101: expected passes of 70 images to fit the 4\.0 GiB of backend wasm, but they need about \d+\.\d GiB; set microBatch: \d+$/,
    ],
    [
      'a model that wasm cannot hold',
      { model: { name: 'resnet101', width: 8 } },
      /^model resnet101: expected passes of 5 images .*; use a smaller width$/,
    ],
    [
      'a batch larger than the data',
      { batchSize: 71 },
      /^batchSize: expected at most the 70 training images in .*, got 71; use a smaller batch$/,
    ],
    ['a device that the engine lacks', { devices: ['cuda:0'] }, /cuda:0/],
  ])('%s', async (name, changes, message) => {
    await expect(run(name, changes)).rejects.toThrow(message);
    await expect(run(name, changes)).rejects.toMatchObject({ name: 'UsageError' });
    expect(existsSync(join(folder, name))).toBe(false);
  });

  it.each([
    ['holds files', '', 'expected a new or empty folder for the run, got one that holds files'],
    ['is below a file', 'data/synthetic.json/run', 'expected a folder, but .*synthetic.json is a file'],
    ['is a file', 'data/synthetic.json', 'expected a folder, but .*synthetic.json is a file'],
    ['cannot be made', '../../../../proc/run', 'expected a folder that can be written, got ENOENT'],
  ])('a run folder that %s', async (_, name, message) => {
    const error = await run(name).catch((error) => error);
    expect(error).toMatchObject({ name: 'UsageError', message: expect.stringMatching(message) });
    expect(readdirSync(folder)).not.toContain('metrics.jsonl');
  });
});
