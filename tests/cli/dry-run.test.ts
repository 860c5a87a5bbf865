// `gradamp train --dry-run`: what it shows, what it refuses, and that it leaves nothing behind.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describePlan, planMemory, planRun } from '../../src/cli/dry-run.ts';
import { checkConfig } from '../../src/config/load.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { buildModel } from '../../src/models/index.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const CONFIG = {
  model: 'resnet8',
  dataset: 'cifar10',
  dataDir: 'data',
  schedule: [
    [2, 0.1, false, 1],
    [9, 0.1, true, 2],
    [10, 0.01, true, 1],
  ],
  batchSize: 20,
};

const folder = mkdtempSync(join(tmpdir(), 'gradamp-dry-run-'));
const dataDir = join(folder, 'data');
beforeAll(async () => {
  writeFileSync(join(folder, 'run.yaml'), JSON.stringify(CONFIG));
  await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 1, train: 70, test: 10 });
});
afterAll(() => rmSync(folder, { recursive: true }));

const plan = (changes: Record<string, unknown> = {}) => {
  const config = checkConfig({ ...CONFIG, dataDir, ...changes }, 'test');
  return planRun(config, join(folder, 'runs/run'));
};

function gradamp(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('the plan says which epochs analyse and which amplify', async () => {
  const { phases, epochs } = await plan();
  expect(phases).toEqual([
    {
      epochs: [1, 2],
      learningRate: [0.1, 0.1],
      peakLearningRate: 0.1,
      factor: 1,
      analyses: [],
      acting: null,
    },
    {
      epochs: [3, 9],
      learningRate: [0.1, 0.1],
      peakLearningRate: 0.1,
      factor: 2,
      analyses: [3],
      acting: [4, 9],
    },
    // A factor of 1 amplifies nothing.
    {
      epochs: [10, 10],
      learningRate: [0.01, 0.01],
      peakLearningRate: 0.01,
      factor: 1,
      analyses: [10],
      acting: null,
    },
  ]);
  expect(epochs.join(' ')).toBe(
    'plain plain analysis amplified amplified amplified amplified amplified amplified analysis',
  );
});

test('an epoch that chooses anew is amplified by the earlier choice', async () => {
  const { phases } = await plan({ amplification: { reselect: 2 } });
  expect(phases[1]).toMatchObject({ analyses: [3, 5, 7], acting: [4, 9] });
});

test('an epoch of frozen or scaled layers is called so, and a factor of 1 freezes too', async () => {
  const freeze = { response: 'freeze', apply: 'learning-rate' };
  const schedule = [
    [2, 0.1, true, 1],
    [4, 0.1, true, 2],
  ];
  const frozen = await plan({ schedule, amplification: freeze });
  expect(frozen.epochs).toEqual(['analysis', 'frozen', 'analysis', 'frozen']);
  expect(frozen.phases.map(({ factor, acting }) => [factor, acting])).toEqual([
    [0, [2, 2]],
    [0, [4, 4]],
  ]);
  const amplification = { response: 'continuous', selection: 'all' };
  const scaled = await plan({ schedule, amplification });
  expect(scaled.epochs).toEqual(['analysis', 'plain', 'analysis', 'scaled']);
  expect(scaled.phases.map(({ factor }) => factor)).toEqual([1, 2]);
  const config = checkConfig({ ...CONFIG, dataDir, schedule, amplification }, 'test');
  const text = describePlan(scaled, config, false);
  expect(text).toContain('plain ▂  analysis █  scaled ▄\n');
  expect(text).toMatch(/factor +analyses at the end of +scaled epochs\n/);
  expect(text).toMatch(/3-4 +0\.1 +up to 2 +3 +4\n/);
});

test('without amplification every phase is plain and there are no candidates', async () => {
  const { phases, candidates } = await plan({ amplification: 'none' });
  expect(phases.map(({ analyses, acting }) => [analyses, acting])).toEqual(Array(3).fill([[], null]));
  expect(candidates).toBeNull();
});

test('a learning rate that follows a curve is shown from its first step to its last', async () => {
  const { phases } = await plan({ learningRate: { policy: 'cosine', peak: 0.2 } });
  // 10 epochs of 4 steps: half a cosine from step 0 to where step 40 would be.
  const rate = (step: number) => 0.1 * (1 + Math.cos((Math.PI * step) / 40));
  expect(phases[0]).toMatchObject({
    learningRate: [0.2, expect.closeTo(rate(7), 12)],
    peakLearningRate: 0.2,
  });
  expect(phases[2].learningRate).toEqual([expect.closeTo(rate(36), 12), expect.closeTo(rate(39), 12)]);
});

test('a rate that rises and falls within a phase is shown with its peak', async () => {
  const learningRate = { policy: 'one-cycle', peak: 0.4, warmup: 4, start: 0.1, final: 0.001 };
  const { phases } = await plan({ learningRate });
  // The last step of the warm-up has the peak: step 16 of 40, in the second phase.
  expect(phases.map((phase) => phase.peakLearningRate)).toEqual([
    phases[0].learningRate[1],
    0.4,
    phases[2].learningRate[0],
  ]);
  const config = checkConfig({ ...CONFIG, dataDir, learningRate }, 'test');
  const [first, second, third] = describePlan(await planRun(config, join(folder, 'x')), config, false)
    .split('\n')
    .filter((line) => /^[123] {6}\d/.test(line));
  // 0.1 + 0.15 (1 - cos(7/15 π)) and so on.
  expect(first).toMatch(/^1 {6}1-2 {5}0\.1 to 0\.234 {2}/);
  expect(second).toMatch(/^2 {6}3-9 {5}0\.266 to 0\.4 to 0\.0277 {2}/);
  expect(third).toMatch(/^3 {6}10 {6}0\.0162 to 0\.001 {2}/);
});

test('sizes are those of the model and of the data in the folder', async () => {
  const { data, layers, candidates, parameters, macs, trainingFlops, memory } = await plan();
  expect(data).toEqual({
    ...{ folder: dataDir, trainingImages: 70, validationImages: 0, synthetic: true, missing: null },
  });
  expect([layers, candidates, parameters]).toEqual([19, 19, 78042]);
  expect(trainingFlops).toBe(6 * macs * 70 * 10);
  expect(memory.passSize).toBe(20);
  // Weights, momentum, one gradient, S and A, and the running statistics.
  expect(memory.storeBytes).toBeGreaterThan(5 * 4 * parameters);
  // Three copies of the same without the gradient: written, waiting, and the next.
  expect(memory.checkpointBytes).toBeGreaterThan(3 * 4 * 4 * parameters);
  expect(memory.totalBytes).toBe(memory.storeBytes + memory.checkpointBytes + memory.passBytes);
});

test('the memory of GPUs is theirs, and the plan says what they compute in and how gradients come together', async () => {
  const gpus = { engine: 'torch', devices: ['cuda:0', 'cuda:1'], precision: 'bfloat16' };
  const config = checkConfig({ ...CONFIG, dataDir, ...gpus }, 'test');
  const graph = buildModel({ ...config.model, classes: 10 });
  const onProcessors = await plan({ devices: ['cpu', 'cpu'] });
  const memory = planMemory(config, graph, 70);
  expect(memory.totalBytes).toBe(memory.storeBytes + memory.checkpointBytes);
  expect(memory.passBytes).toBeLessThan(onProcessors.memory.passBytes);
  expect(memory.gpus.map(({ device }) => device)).toEqual(['cuda:0', 'cuda:1']);
  for (const { bytes } of memory.gpus) expect(bytes).toBeGreaterThan(640 * 2 ** 20 + memory.passBytes);
  const text = describePlan({ ...onProcessors, memory, collective: 'nccl' }, config, false);
  expect(text).toMatch(/^workers +2 on cuda:0, cuda:1 in bfloat16; gradients by NCCL$/m);
  expect(text).toMatch(/^memory +about 5 MiB: 2 MiB shared, up to 4 MiB for checkpoints$/m);
  expect(text).toMatch(
    /^GPU memory +cuda:0 about 6\d\d MiB, cuda:1 about 6\d\d MiB: 2 × \d\d MiB for passes of 10 images among it$/m,
  );
  expect(
    describePlan(onProcessors, checkConfig({ ...CONFIG, devices: ['cpu', 'cpu'] }, 'test'), false),
  ).toMatch(/^workers +2 on cpu in float32; gradients by shared memory$/m);
});

test('images held out are not trained on: epochs are shorter', async () => {
  const { data, macs, trainingFlops } = await plan({ validation: 15 });
  expect([data.trainingImages, data.validationImages]).toEqual([55, 15]);
  expect(trainingFlops).toBe(6 * macs * 55 * 10);
  // Three steps an epoch in place of four: of a warm-up over 15 or 20 steps, step 7 or 9 is the first of epoch 3.
  const curve = { learningRate: { policy: 'cosine', peak: 0.3, warmup: 5 } };
  const [whole, shorter] = await Promise.all([plan(curve), plan({ ...curve, validation: 15 })]);
  expect(whole.phases[1].learningRate[0]).toBeCloseTo((0.3 * 9) / 20, 12);
  expect(shorter.phases[1].learningRate[0]).toBeCloseTo((0.3 * 7) / 15, 12);
});

test.each([
  [
    { validation: 51 },
    /^validation: expected at most 50, so that a batch of 20 is left of the 70 training images in .*data, got 51; hold out fewer or use a smaller batch$/,
  ],
  [
    { validation: 9 },
    /^validation: expected 0, or at least 10, an image for each of the 10 classes, got 9; hold out more$/,
  ],
  [
    { deterministic: true, backend: 'tensorflow' },
    /^deterministic: backend tensorflow cannot promise the same bits twice, .*; use backend: wasm or cpu, or deterministic: false$/,
  ],
])('refuses what training refuses: %j', async (changes, message) => {
  await expect(plan(changes)).rejects.toThrow(message);
  await expect(plan(changes)).rejects.toMatchObject({ name: 'UsageError' });
});

test('missing data are told, and the official sizes taken', async () => {
  for (const place of ['nowhere', 'empty']) {
    mkdirSync(join(folder, 'empty'), { recursive: true });
    const { data } = await plan({ dataDir: join(folder, place), dataset: 'cifar100' });
    expect(data).toMatchObject({ trainingImages: 50_000, synthetic: null });
    const validated = await plan({ dataDir: join(folder, place), dataset: 'cifar100', validation: 5000 });
    expect(validated.data).toMatchObject({ trainingImages: 45_000, validationImages: 5000 });
    expect(data.missing).toContain('gradamp data download cifar100');
  }
});

test('data that are there must be right', async () => {
  mkdirSync(join(folder, 'broken'));
  writeFileSync(join(folder, 'broken/test_batch.bin'), 'short');
  await expect(plan({ dataDir: join(folder, 'broken') })).rejects.toThrow(
    'data_batch_1.bin: expected a file',
  );
});

test('many analyses are shortened to the first three, the last and their number', async () => {
  const schedule = [[100, 0.1, true, 2]];
  const amplification = { reselect: 5 };
  const config = checkConfig({ ...CONFIG, dataDir, schedule, amplification }, 'test');
  const text = describePlan(await planRun(config, join(folder, 'x')), config, false);
  expect(text).toContain('1, 6, 11, ..., 96 (20)');
  expect(text).toMatch(/█▅▅/);
  expect(text).toContain('2-100');
});

describe('the command', () => {
  test('prints config, timeline and sizes, and writes nothing', () => {
    const before = readdirSync(folder).sort();
    const { status, stdout, stderr } = gradamp('train', 'run.yaml', '--dry-run', '--set', 'seed=7');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('model:\n  name: resnet8\n  width: 1\n');
    expect(stdout).toContain('seed: 7\n');
    expect(stdout).toContain('2      3-9     0.1                 2  3                       4-9\n');
    expect(stdout).toContain('candidates  19 layers\n');
    expect(stdout).toContain('data        70 training images (synthetic)\n');
    expect(stdout).toContain('seeds       7 for everything\n');
    expect(stdout).toContain('folder      runs/run\n');
    expect(stdout.endsWith('\ndry run: nothing was trained or written\n')).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  test('says how many images are held out, and what each seed is where they differ', () => {
    const { stdout } = gradamp(
      ...['train', 'run.yaml', '--dry-run', '--set', 'validation=15', '--set', 'seeds.order=3'],
    );
    expect(stdout).toContain('data        55 training and 15 validation images (synthetic)\n');
    expect(stdout).toContain('seeds       weights 0, order 3, augmentation 0, selection 0, validation 0\n');
  });

  test('prints JSON whose config is the config', () => {
    const { status, stdout } = gradamp('train', 'run.yaml', '--dry-run', '--json');
    expect(status).toBe(0);
    const { config, directory } = JSON.parse(stdout);
    expect(checkConfig(config, 'printed')).toEqual(checkConfig(CONFIG, 'given'));
    expect(directory).toBe('runs/run');
  });

  test.each([
    [
      ['--dry-run', '--set', 'engine=tensorflow'],
      '--set: engine: expected auto, torch or tfjs, got "tensorflow"',
    ],
    [
      ['--dry-run', '--devices', 'cuda:0', '--set', 'engine=tfjs'],
      'devices: backend wasm of engine tfjs runs on cpu only, got cuda:0; use devices: [cpu], or backend: tensorflow for one GPU',
    ],
    [
      ['--dry-run', '--set', 'batchSize=71'],
      'batchSize: expected at most the 70 training images in data, got 71; use a smaller batch',
    ],
    [
      ['--dry-run', '--out', '.'],
      '.: expected a new or empty folder for the run, got one that holds files; remove it or choose another with --out',
    ],
  ])('refuses %j', (options, message) => {
    const result = gradamp('train', 'run.yaml', ...options);
    expect(result).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  });
});
