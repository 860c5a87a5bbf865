// The learning-rate range test on worker threads and a small data set on disk.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { synthesize } from '../../src/data/synthetic.ts';
import { type FindOptions, findLearningRate, type RateFindings } from '../../src/parallel/lr-finder.ts';
import type { TrainerSetup } from '../../src/parallel/trainer.ts';
import type { RangePoint } from '../../src/training/range-test.ts';
import { devices, testConfig } from './fixtures.ts';

/** The module that the threads run; without one the real one. */
const workers = vi.hoisted((): { entry?: string } => ({}));
vi.mock('../../src/parallel/worker-group.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../src/parallel/worker-group.ts')>();
  class WorkerGroup extends original.WorkerGroup {
    constructor(setups: readonly TrainerSetup[]) {
      super(setups, workers.entry);
    }
  }
  return { ...original, WorkerGroup };
});

const folder = mkdtempSync(join(tmpdir(), 'gradamp-lr-find-'));
const dataDir = join(folder, 'data');
/** Of one worker, 20 steps. */
let plain: RateFindings;
const seen: number[] = [];
beforeAll(async () => {
  await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 1, train: 36, test: 10, difficulty: 0.1 });
  plain = await find({}, { onStep: ({ step }) => seen.push(step) });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An epoch is five steps, the last one of half a batch: a test runs over several. */
function find(changes: Record<string, unknown> = {}, options: Partial<FindOptions> = {}) {
  const model = { name: 'resnet8', width: 0.125 };
  const config = testConfig({ model, dataDir, batchSize: 8, microBatch: 4, ...changes });
  return findLearningRate(config, { from: 1e-3, to: 1, steps: 20, ...options });
}

test('takes every step with its rate, and suggests rates within the range', () => {
  const { points, end, suggestions } = plain;
  expect(end).toBe('complete');
  const steps = Array.from({ length: 20 }, (_, index) => index + 1);
  expect(seen).toEqual(steps);
  expect(points.map(({ step }) => step)).toEqual(steps);
  for (const { step, learningRate, loss } of points) {
    expect(learningRate).toBeCloseTo(10 ** (-3 + (3 * (step - 1)) / 19), 12);
    expect(loss).toBeGreaterThan(0);
    expect(loss).toBeLessThan(10);
  }
  for (const rate of [suggestions?.steepest, suggestions?.minimum]) {
    expect(rate).toBeGreaterThan(1e-3);
    expect(rate).toBeLessThan(1);
  }
  expect(readdirSync(folder)).toEqual(['data']);
});

test('heeds neither the rates nor the amplification of the config, and any number of workers measures the same', async () => {
  const { points } = await find({
    learningRate: { policy: 'cosine', peak: 5 },
    schedule: [[3, 0.1, true, 100]],
    devices: devices(2),
  });
  expect(points.length).toBe(20);
  for (const [index, { loss }] of points.entries()) {
    expect(Math.abs(loss / plain.points[index].loss - 1)).toBeLessThan(1e-3);
  }
});

test('ends where the loss explodes', async () => {
  const { points, end } = await find({ weightDecay: 10 }, { to: 1e6 });
  expect(end).toBe('diverged');
  expect(points.length).toBeLessThan(20);
  expect(points.every(({ loss }) => Number.isFinite(loss))).toBe(true);
});

test('ends behind the step in which it is stopped', async () => {
  const controller = new AbortController();
  const onStep = ({ step }: RangePoint) => {
    if (step === 3) controller.abort();
  };
  const { points, end } = await find({}, { onStep, signal: controller.signal });
  expect({ end, steps: points.length }).toEqual({ end: 'stopped', steps: 3 });
});

test('tells once of what the workers warn of at every step', async () => {
  const warnings: string[] = [];
  workers.entry = fileURLToPath(new URL('./warning-worker.mjs', import.meta.url));
  try {
    const { end } = await find({ devices: devices(2) }, { onWarning: (warning) => warnings.push(warning) });
    expect(end).toBe('complete');
  } finally {
    workers.entry = undefined;
  }
  expect(warnings).toEqual(['no graphs on cpu']);
});

test('refuses what training refuses', async () => {
  await expect(find({ batchSize: 100, microBatch: undefined })).rejects.toThrow(
    /^batchSize: expected at most the 36 training images/,
  );
});
