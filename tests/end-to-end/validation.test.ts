// Whole runs that hold images out: what they choose by them and keep, that the same run gives the same bits, and
// what the seed of random selections changes.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Selection } from '../../src/amplification/selection.ts';
import { evaluateRun } from '../../src/cli/evaluate.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import { bestEpoch, type EpochMetrics } from '../../src/training/metrics.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { testConfig } from '../parallel/fixtures.ts';
import { metrics as epochMetrics } from '../training/fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-validation-'));
const dataDir = join(folder, 'data');
beforeAll(() => synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, train: 70, test: 30 }));
afterAll(() => rmSync(folder, { recursive: true }));

const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };

async function run(name: string, changes: Record<string, unknown>) {
  const config = testConfig({ dataDir, batchSize: 20, microBatch: 5, ...changes });
  const directory = join(folder, name);
  const { summary, selections } = await train(config, { directory, reporter: silent });
  const text = (file: string) => readFileSync(join(directory, file), 'utf8');
  const lines = (): EpochMetrics[] =>
    text('metrics.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  const vectors = async (file: string) => {
    const { progress, vectors } = await readCheckpoint(join(directory, file));
    return { epoch: progress.history.length, ...vectors };
  };
  return { directory, summary, selections, text, lines, vectors };
}

describe('a run that holds 20 of its 70 images out', () => {
  const CHANGES = {
    ...{ validation: 20, deterministic: true, devices: ['cpu', 'cpu'], clipNorm: 1, seed: 3 },
    schedule: [
      [1, 0.05, false, 1],
      [4, 0.05, true, 2],
    ],
    amplification: { threshold: 0.5 },
  };
  let first: Awaited<ReturnType<typeof run>>;
  let second: typeof first;
  beforeAll(async () => {
    [first, second] = await Promise.all([run('first', CHANGES), run('second', CHANGES)]);
  });

  it('trains on the other 50 and evaluates both parts in every epoch', () => {
    // Three steps of 20, 20 and 10.
    expect(first.selections[0].iterations).toBe(3);
    const lines = first.lines();
    expect(lines).toHaveLength(4);
    for (const { trainAccuracy, validationAccuracy, testAccuracy } of lines) {
      for (const [accuracy, images] of [
        [trainAccuracy, 50],
        [validationAccuracy, 20],
        [testAccuracy, 30],
      ] as const) {
        expect(Math.abs(accuracy! * images - Math.round(accuracy! * images))).toBeLessThan(1e-9);
      }
    }
    const columns = first.text('metrics.csv').split('\n')[0].split(',');
    expect(columns.slice(-4)).toEqual(['validationLoss', 'validationAccuracy', 'testLoss', 'testAccuracy']);
  });

  it('names the epoch that the held-out images chose, and keeps its weights', async () => {
    const lines = first.lines();
    const accuracies = lines.map(({ validationAccuracy }) => validationAccuracy ?? 0);
    const at = accuracies.indexOf(Math.max(...accuracies));
    const { validationAccuracy, validationLoss, testAccuracy, testLoss } = lines[at];
    // Chosen so that it is neither the last epoch nor the one that the test images would choose.
    expect(at).toBeLessThan(3);
    expect(Math.max(...lines.map((line) => line.testAccuracy ?? 0))).toBeGreaterThan(testAccuracy ?? 1);
    expect(JSON.parse(first.text('summary.json'))).toMatchObject({
      finalValidationAccuracy: accuracies[3],
      finalTestAccuracy: lines[3].testAccuracy,
      best: { chosenOn: 'validation', epoch: at + 1, validationAccuracy, testAccuracy },
    });
    const onValidation = await evaluateRun(first.directory, { weights: 'best', images: 'validation' });
    expect(onValidation).toMatchObject({ epoch: at + 1, step: 0, accuracy: validationAccuracy });
    expect(onValidation.loss).toBe(validationLoss);
    const onTest = await evaluateRun(first.directory, { weights: 'best' });
    expect([onTest.accuracy, onTest.loss]).toEqual([testAccuracy, testLoss]);
  });

  it('is the same to the byte a second time', async () => {
    for (const file of ['metrics.jsonl', 'selections.jsonl'])
      expect(second.text(file)).toBe(first.text(file));
    for (const file of ['checkpoint.msgpack', 'best.msgpack']) {
      expect(await second.vectors(file)).toEqual(await first.vectors(file));
    }
  });
});

it('the seed of selections changes which layers are chosen at random and nothing before, and no other seed does', async () => {
  const changes = { schedule: [[1, 0.05, true, 2]], amplification: { selection: 'random', ratio: 0.5 } };
  const [base, selection, others] = await Promise.all([
    run('base', changes),
    run('selection', { ...changes, seeds: { selection: 1 } }),
    run('others', { ...changes, seed: 1, seeds: { selection: 0 } }),
  ]);
  const chosen = ([{ layers }]: readonly Selection[]) =>
    layers.filter((layer) => layer.chosen).map(({ name }) => name);
  expect(chosen(base.selections).length).toBeGreaterThan(0);
  expect(chosen(selection.selections)).not.toEqual(chosen(base.selections));
  expect(selection.text('metrics.jsonl')).toBe(base.text('metrics.jsonl'));
  expect(await selection.vectors('checkpoint.msgpack')).toEqual(await base.vectors('checkpoint.msgpack'));
  expect(chosen(others.selections)).toEqual(chosen(base.selections));
  expect(others.text('metrics.jsonl')).not.toBe(base.text('metrics.jsonl'));
  expect(others.summary.seeds).toEqual({
    ...{ weights: 1, order: 1, augmentation: 1, selection: 0, validation: 1 },
  });
  expect(JSON.parse(others.text('log.jsonl').split('\n')[0]).seeds).toEqual(others.summary.seeds);
});

describe('the best epoch', () => {
  const history = [
    [0.5, 0.25],
    [0.75, 0.5],
    [0.75, 0.875],
    [0.5, 0.75],
  ].map(([validationAccuracy, testAccuracy], index) => ({
    ...epochMetrics,
    ...{ epoch: index + 1, validationAccuracy, testAccuracy },
  }));

  it('is the first of the highest accuracy on the data that choose', () => {
    expect(bestEpoch(history, 'validation')).toEqual({
      ...{ chosenOn: 'validation', epoch: 2, validationAccuracy: 0.75, testAccuracy: 0.5 },
    });
    expect(bestEpoch(history, 'test')).toEqual({
      ...{ chosenOn: 'test', epoch: 3, validationAccuracy: 0.75, testAccuracy: 0.875 },
    });
  });

  it('is none where there is no accuracy', () => {
    const without = history.map((line) => ({ ...line, validationAccuracy: null }));
    expect(bestEpoch(without, 'validation')).toBeNull();
    expect(bestEpoch([], 'test')).toBeNull();
  });
});
