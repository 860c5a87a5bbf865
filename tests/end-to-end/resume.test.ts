// Runs that are interrupted and gone on with, in one process: what a run does over a pause, in another process's place,
// with other workers or engines, and in a fork. Killed processes: crash.test.ts.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportRun } from '../../src/cli/export.ts';
import type { Config } from '../../src/config/schema.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { type TrainOptions, train } from '../../src/parallel/coordinator.ts';
import { fork } from '../../src/parallel/fork.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import type { EpochMetrics } from '../../src/training/metrics.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { testConfig } from '../parallel/fixtures.ts';

/** Seven epochs of four steps: 2 and 6 are analysed, the others behind them amplified, 4 measured again meanwhile. */
const CHANGES = {
  ...{ batchSize: 20, microBatch: 5, devices: ['cpu', 'cpu'], validation: 10 },
  schedule: [
    [1, 0.05, false, 1],
    [5, 0.05, true, 2],
    [7, 0.01, true, 2],
  ],
  amplification: { threshold: 0.5, reselect: 2 },
};

const UNPAUSED = { checkpoint: { everyMinutes: 'never', keep: 100 } };

const folder = mkdtempSync(join(tmpdir(), 'gradamp-resume-'));
const dataDir = join(folder, 'data');
/** The run without a pause, and with one behind every few steps; all their checkpoints stay. */
let whole: Awaited<ReturnType<typeof run>>;
let paused: typeof whole;
beforeAll(async () => {
  await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, train: 80, test: 10 });
  whole = await run('whole', UNPAUSED);
  paused = await run('paused', { checkpoint: { everyMinutes: 1e-6, keep: 100 } });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Keeps what it is told. */
function watcher() {
  const messages: string[] = [];
  const reporter: Reporter = {
    ...{ start() {}, update() {}, epochEnd() {}, selection() {}, close() {} },
    message: (text) => messages.push(text),
  };
  return { reporter, messages };
}

const configOf = (changes: Record<string, unknown> = {}): Config =>
  testConfig({ dataDir, ...CHANGES, ...changes });

async function run(name: string, changes: Record<string, unknown> = {}, options: Partial<TrainOptions> = {}) {
  const { reporter, messages } = watcher();
  const directory = join(folder, name);
  const result = await train(configOf(changes), { directory, reporter, ...options });
  return { ...result, ...(await outcome(name)), messages };
}

async function outcome(name: string) {
  const place = (file: string) => join(folder, name, file);
  const text = (file: string) => (existsSync(place(file)) ? readFileSync(place(file), 'utf8') : '');
  const { vectors, progress } = await readCheckpoint(place('checkpoint.msgpack'));
  const lines = (file: string): Record<string, unknown>[] =>
    text(file)
      .trimEnd()
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  return {
    files: ['metrics.jsonl', 'metrics.csv', 'selections.jsonl'].map(text),
    vectors,
    progress,
    best: existsSync(place('best.msgpack'))
      ? (await readCheckpoint(place('best.msgpack'))).vectors
      : undefined,
    metrics: lines('metrics.jsonl') as unknown as EpochMetrics[],
    log: lines('log.jsonl'),
  };
}

type Outcome = Awaited<ReturnType<typeof outcome>>;

/** A folder of a run that has come no further than this checkpoint, the last one, and perhaps another before it. */
function stoppedAt(name: string, last: string, ...before: readonly string[]): void {
  mkdirSync(join(folder, name));
  copyFileSync(last, join(folder, name, 'checkpoint.msgpack'));
  for (const file of before) copyFileSync(file, join(folder, name, basename(file)));
}

/** The checkpoint of the whole run behind one of its epochs. */
const behind = (epoch: number) => join(folder, 'whole', `checkpoint-000${epoch}-000000.msgpack`);

function expectSame(actual: Outcome, expected: Outcome): void {
  expect(actual.files).toEqual(expected.files);
  expect(actual.vectors).toEqual(expected.vectors);
  expect(actual.best).toEqual(expected.best);
}

describe('a run', () => {
  it('is not changed by a bit where it pauses for checkpoints in every few steps', () => {
    expectSame(paused, whole);
    const written = paused.log.filter(({ event }) => event === 'checkpoint');
    expect(written.filter(({ step }) => step !== 0).length).toBeGreaterThan(6);
    expect(whole.log.filter(({ event, step }) => event === 'checkpoint' && step !== 0)).toEqual([]);
  });

  it.each([
    ['a plain epoch', 1],
    ['an analysis', 2],
    ['an amplified epoch', 3],
    ['an amplified epoch that is measured', 4],
  ])('interrupted in %s and gone on with is the run that would have been', async (_, epoch) => {
    const kept = readdirSync(join(folder, 'paused')).filter(
      (name) => name.startsWith(`checkpoint-000${epoch - 1}-`) && !name.endsWith('-000000.msgpack'),
    );
    expect(kept.length).toBeGreaterThan(0);
    const name = `interrupted-${epoch}`;
    stoppedAt(name, join(folder, 'paused', kept[0]));
    const { progress, vectors } = await outcome(name);
    expect(progress.step).toBeGreaterThan(0);
    expect(progress.history).toHaveLength(epoch - 1);
    expect(vectors.accumulators !== undefined).toBe(epoch === 2 || epoch === 4);
    const { files, vectors: end } = await run(name, {}, { from: 'folder' });
    expect({ files, end }).toEqual({ files: whole.files, end: whole.vectors });
  });

  it('goes on with another number of workers and says so; the gradients agree to rounding', async () => {
    stoppedAt('fewer', behind(2));
    const resumed = await run('fewer', { ...UNPAUSED, devices: ['cpu'] }, { from: 'folder' });
    expect(resumed.messages).toContain('changed: devices ["cpu"] in place of ["cpu","cpu"]');
    expect(resumed.log.find(({ event }) => event === 'resume')).toMatchObject({
      ...{ epoch: 2, step: 0, file: 'checkpoint.msgpack', workers: 1, refused: [] },
      changes: [{ key: 'devices', from: ['cpu', 'cpu'], to: ['cpu'] }],
    });
    // The first epoch behind it has seen the same images in the same order, with the same weights at its start.
    expect(resumed.metrics[2].trainLoss).toBeCloseTo(whole.metrics[2].trainLoss ?? Number.NaN, 3);
    expect(resumed.files[0].split('\n').slice(0, 2)).toEqual(whole.files[0].split('\n').slice(0, 2));
  });

  it('falls back to the checkpoint before the last one where that is torn, and says why', async () => {
    stoppedAt('torn', behind(3), behind(2));
    const file = join(folder, 'torn', 'checkpoint.msgpack');
    writeFileSync(file, readFileSync(file).subarray(0, 5000));
    const resumed = await run('torn', {}, { from: 'folder' });
    expectSame(resumed, whole);
    expect(resumed.messages[0]).toMatch(
      /^warning: checkpoint\.msgpack cannot be used \(truncated.*\); an older one takes its place$/,
    );
    expect(resumed.messages[1]).toBe('goes on after epoch 2 (checkpoint-0002-000000.msgpack)');
  });

  it('starts anew where its folder holds no checkpoint yet', async () => {
    cpSync(join(folder, 'whole'), join(folder, 'none'), { recursive: true });
    const files = readdirSync(join(folder, 'none')).filter((name) => name.endsWith('.msgpack'));
    for (const file of files) rmSync(join(folder, 'none', file));
    expectSame(await run('none', {}, { from: 'folder' }), whole);
  });

  it('may be made longer, but for the epochs that are trained', async () => {
    cpSync(join(folder, 'whole'), join(folder, 'longer'), { recursive: true });
    const longer = [...CHANGES.schedule, [8, 0.001, false, 1]];
    const resumed = await run('longer', { schedule: longer }, { from: 'folder' });
    expect(resumed.metrics.slice(0, 7)).toEqual(whole.metrics);
    expect(resumed.metrics.at(-1)).toMatchObject({ epoch: 8, learningRate: 0.001, phase: 4 });
    expect(resumed.metrics).toHaveLength(8);
    const other = [[1, 0.1, false, 1], ...CHANGES.schedule.slice(1)];
    await expect(run('longer', { schedule: other }, { from: 'folder' })).rejects.toThrow(
      /expected the config that the run was started with, got schedule \[.* in place of \[/,
    );
  });

  it.each([
    [{ batchSize: 10 }, 'batchSize 10 in place of 20'],
    [{ seed: 1 }, /seeds.weights 1 in place of 0, .* and 2 more/],
    [{ model: { name: 'resnet8', width: 0.5 } }, 'model.width 0.5 in place of 0.25'],
    [{ amplification: { threshold: 0.7, reselect: 2 } }, 'amplification.threshold 0.7 in place of 0.5'],
    [{ clipNorm: 1 }, 'clipNorm 1 in place of nothing'],
  ])('is not gone on with as another one: %j', async (changes, difference) => {
    await expect(run('whole', changes, { from: 'folder' })).rejects.toThrow(difference);
  });

  it('is not gone on with on other images', async () => {
    const other = join(folder, 'other-data');
    await synthesize({ dataset: 'cifar10', directory: other, seed: 4, train: 80, test: 30 });
    await expect(run('whole', { dataDir: other }, { from: 'folder' })).rejects.toThrow(
      /expected the images that the run was trained on/,
    );
  });
});

describe('a fork', () => {
  it('behind the first analysis is the run that its rule would have given from the start', async () => {
    const rules = [
      { threshold: 0.9, case: 2 },
      { threshold: 0.5, selection: 'random' },
    ];
    const configs = rules.map((amplification) => ({ amplification }));
    const trunkRule = { amplification: { threshold: 0.5 } };
    const trunk = await run('trunk', trunkRule, { until: 2 });
    const choices = new Set([
      String(trunk.selections[0].layers.flatMap(({ name, chosen }) => (chosen ? [name] : []))),
    ]);
    for (const [index, changes] of configs.entries()) {
      const from = fork({ config: configOf(trunkRule), state: trunk.state }, configOf(changes));
      const forked = await run(`fork-${index}`, changes, { from });
      const alone = await run(`alone-${index}`, changes);
      expect(forked.files).toEqual(alone.files);
      expect(forked.vectors).toEqual(alone.vectors);
      choices.add(String(alone.metrics[2].amplified));
    }
    expect(choices.size).toBe(3);
  });

  it('is refused where layers were not just chosen, or more than the choice differs', async () => {
    const config = configOf();
    const state = await readCheckpoint(behind(1));
    expect(() => fork({ config, state }, config)).toThrow(
      /expected a run that has just chosen layers, got one at epoch 1/,
    );
    const trunk = await readCheckpoint(behind(2));
    const other = configOf({ amplification: { ...CHANGES.amplification, pooling: 'weight' } });
    expect(() => fork({ config, state: trunk }, other)).toThrow(
      'expected configs that differ in the choice of layers, got another amplification.pooling',
    );
  });
});

describe('init', () => {
  it('starts from the weights and statistics of a safetensors file, with the momentum at 0', async () => {
    const file = join(folder, 'donor.safetensors');
    await exportRun(join(folder, 'whole'), { out: file });
    const controller = new AbortController();
    controller.abort();
    const { reporter, messages } = watcher();
    const directory = join(folder, 'started');
    await train(configOf({ init: file }), { directory, reporter, signal: controller.signal });
    const started = await outcome('started');
    expect(started.vectors.weights).toEqual(whole.vectors.weights);
    expect(started.vectors.statistics).toEqual(whole.vectors.statistics);
    expect(started.vectors.velocity.every((v) => v === 0)).toBe(true);
    const again = join(folder, 'again.safetensors');
    await exportRun(directory, { out: again });
    expect(readFileSync(again)).toEqual(readFileSync(file));
    expect(messages).toEqual([]);
  });

  it('says where the weights have seen images of another normalisation, once, and trains on', async () => {
    const dataDir = join(folder, 'data-of-other-colours');
    await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 9, train: 80, test: 10 });
    const file = join(folder, 'seen.safetensors');
    await exportRun(join(folder, 'whole'), { out: file });
    const { messages, log, metrics } = await run('moved', { dataDir, init: file }, { until: 1 });
    const warnings = log.filter(({ event }) => event === 'warning');
    expect(warnings).toMatchObject([
      {
        level: 'warning',
        message: expect.stringMatching(/^init: expected weights of images with the data set's mean /),
      },
    ]);
    expect(messages).toEqual([`warning: ${warnings[0].message}`]);
    expect(metrics).toHaveLength(1);
  });
});
