// How much of a run is said to be left while it is trained and evaluated.

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { figureParts } from '../../src/cli/progress-line.ts';
import { Control, createControlBuffers, type WorkerProgress } from '../../src/parallel/control.ts';
import { ProgressMeter } from '../../src/parallel/progress-meter.ts';
import type { Progress, Reporter } from '../../src/training/reporter.ts';
import { brightnessDataset, testConfig } from './fixtures.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** What is told of an epoch of four once the worker has reported. */
async function progressAfter(epoch: number, phase: Progress['phase'], report: WorkerProgress) {
  const seen: Progress[] = [];
  const update = (progress: Progress) => void seen.push(progress);
  const reporter: Reporter = {
    ...{ start() {}, update, epochEnd() {}, selection() {}, message() {}, close() {} },
  };
  const config = testConfig({ validation: 10, batchSize: 8, schedule: [[4, 0.1, false, 1]] });
  const control = new Control(createControlBuffers(1));
  const meter = new ProgressMeter(config, brightnessDataset({ train: 40, test: 20 }), control, reporter);
  await meter.during(epoch, phase, async () => {
    control.report(0, report);
    await vi.advanceTimersByTimeAsync(200);
  });
  return seen;
}

it.each([
  // Of an epoch of 30 images trained and 10 + 20 evaluated at a third of the cost, in all 40.
  ['plain', 15, 15],
  ['validation', 6, 30 + 6 / 3],
  ['evaluation', 6, 30 + (10 + 6) / 3],
] as const)('in %s, after %i images, the epoch is done to %f of 40', async (phase, samples, done) => {
  const seen = await progressAfter(3, phase, { steps: 2, samples, lossSum: 3 * samples, correct: 0 });
  const fraction = (2 + done / 40) / 4;
  expect(seen).toHaveLength(1);
  expect(seen[0]).toMatchObject({ phase, epoch: 3, steps: 4, step: phase === 'plain' ? 2 : 4, loss: 3 });
  expect(seen[0].secondsLeft).toBeCloseTo((0.2 / fraction) * (1 - fraction), 9);
});

it.each([
  ['a device whose totals lag behind its steps', 0],
  ['numbers of two steps', 3],
])('no loss, accuracy or speed is shown before the first sample: %s', async (_, lossSum) => {
  const [first] = await progressAfter(1, 'plain', { steps: 2, samples: 0, lossSum, correct: lossSum });
  expect(first).toMatchObject({ step: 2, loss: Number.NaN, accuracy: Number.NaN, imagesPerSecond: 0 });
  expect(figureParts(first)).toEqual([]);
});
