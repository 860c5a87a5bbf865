// Workers that never come: the run ends with an error that says who was missed where, and who waited.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { afterAll, describe, expect, it } from 'vitest';
import { type Hang, hangOf } from '../../src/parallel/worker-error.ts';
import { HungError, WorkerError, WorkerGroup } from '../../src/parallel/worker-group.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

const HANGING_WORKER = fileURLToPath(new URL('./hanging-worker.mjs', import.meta.url));
const TIMEOUT = 2;
/** Four steps an epoch. */
const dataset = brightnessDataset({ train: 64, test: 20 });
const order = { epoch: 3, learningRate: 0.1, factors: new Map(), analysed: false };
const advice = 'raise barrierTimeout if it only takes longer';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-hang-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Trouble {
  readonly at: 'start' | 'gradient' | 'update' | 'evaluate';
  /** From 1. */
  readonly call: number;
  readonly how: 'sleep' | 'spin' | 'read' | 'exhaust';
  /** All of them without. */
  readonly rank?: number;
  readonly pipe?: string;
}

/** The last of a queue in which groups start one by one: several at once would not load within the timeout. */
let starts: Promise<unknown> = Promise.resolve();

/** A group when its turn has come, and how its start ends. */
function startGroup(hang: Trouble | undefined, worldSize: number, changes = {}) {
  const turn = starts.then(() => {
    const config = testConfig({ devices: devices(worldSize), barrierTimeout: TIMEOUT, ...changes });
    const setups = groupSetups(config, dataset).setups.map((setup) => ({ ...setup, hang }));
    const workers = new WorkerGroup(setups, HANGING_WORKER);
    const begun = performance.now();
    return { workers, begun, started: workers.all((worker) => worker.start()) };
  });
  starts = turn.then(({ started }) => started).catch(() => {});
  return turn;
}

/** The error of a run of one epoch and its evaluation, and how long it took from the start of the workers. */
async function fail({ workers, begun, started }: Awaited<ReturnType<typeof startGroup>>) {
  const error = await (async () => {
    await started;
    await workers.all((worker) => worker.train(order));
    await workers.all((worker) => worker.evaluate('test'));
  })().catch((error: unknown) => error);
  return { error, seconds: (performance.now() - begun) / 1000 };
}

describe.concurrent('a hang is told with rank, place, step and epoch, and ends the run:', () => {
  it.each<[string, number, Trouble, string, Record<string, unknown>?]>([
    [
      'one worker sleeps in its gradient',
      3,
      { at: 'gradient', call: 3, how: 'sleep', rank: 1 },
      `worker 1 (cpu) hangs: expected it at the barrier before the update of step 3 of epoch 3 within 2 s, got no sign of life; workers 0, 2 wait there; ${advice}`,
    ],
    [
      'one worker spins in its update',
      2,
      { at: 'update', call: 2, how: 'spin', rank: 0 },
      `worker 0 (cpu) hangs: expected it at the barrier behind the update of step 2 of epoch 3 within 2 s, got no sign of life; worker 1 waits there; ${advice}`,
    ],
    [
      'all of them hang',
      2,
      { at: 'gradient', call: 4, how: 'sleep' },
      `workers 0 (cpu), 1 (cpu) hang: expected them at the barrier before the update of step 4 of epoch 3 within 2 s, got no sign of life; ${advice}`,
    ],
    [
      'a single worker',
      1,
      { at: 'gradient', call: 1, how: 'spin' },
      `worker 0 (cpu) hangs: expected it at the barrier before the update of step 1 of epoch 3 within 2 s, got no sign of life; ${advice}`,
    ],
    [
      'in an evaluation, where nobody waits',
      2,
      { at: 'evaluate', call: 1, how: 'sleep', rank: 1 },
      `worker 1 (cpu) hangs: expected it to have evaluated some more images behind epoch 3 within 2 s, got no sign of life; ${advice}`,
    ],
    [
      'while engines are loaded',
      2,
      { at: 'start', call: 1, how: 'sleep', rank: 1 },
      `worker 1 (cpu) hangs: expected it to have loaded its engine within 2 s, got no sign of life; ${advice}`,
    ],
    [
      'while the others wait in a synchronised batch norm',
      3,
      { at: 'gradient', call: 2, how: 'sleep', rank: 2 },
      `worker 2 (cpu) hangs: expected it at the barrier before the update of step 2 of epoch 3 within 2 s, got no sign of life; workers 0, 1 wait at a batch norm of step 2 of epoch 3; ${advice}`,
      { syncBatchNorm: true },
    ],
  ])('%s', async (_, worldSize, hang, message, changes) => {
    const group = await startGroup(hang, worldSize, changes);
    const { error, seconds } = await fail(group);
    const { workers } = group;
    await workers.close();
    expect(error).toBeInstanceOf(HungError);
    expect(error).toBeInstanceOf(WorkerError);
    expect(error).toMatchObject({ name: 'HungError', rank: hang.rank ?? 0, message });
    expect(seconds).toBeGreaterThan(TIMEOUT);
    expect(seconds).toBeLessThan(10);
    // A thread in JavaScript can be ended.
    expect(workers.stuck).toBe(false);
  });
});

it.concurrent('nothing is told of workers that move, however long the whole takes', async () => {
  const { workers, started } = await startGroup(undefined, 2);
  await started;
  const epochs = workers.all(async (worker) => {
    // The same number of epochs for all, with pauses of a quarter of the timeout, and more than two timeouts of them.
    for (let epoch = 0; epoch < 10; epoch++) {
      await worker.train(order);
      await new Promise((resolve) => setTimeout(resolve, 250 * TIMEOUT));
    }
  });
  await expect(epochs).resolves.toEqual([undefined, undefined]);
  await workers.close();
  expect(workers.stuck).toBe(false);
});

it.concurrent('close comes to an end though a thread is in a native call, and tells that it is stuck there', async ({
  expect,
}) => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const group = await startGroup({ at: 'gradient', call: 2, how: 'read', rank: 1, pipe }, 2);
  const { error } = await fail(group);
  const { workers } = group;
  expect(error).toMatchObject({ name: 'HungError', rank: 1 });
  const started = performance.now();
  await workers.close();
  expect(performance.now() - started).toBeLessThan(8000);
  expect(workers.stuck).toBe(true);
  // Lets it go.
  writeFileSync(pipe, '');
  await expect.poll(() => workers.stuck, { timeout: 10_000 }).toBe(false);
});

/** Node 24.21 ends the whole process, with a worker's `resourceLimits` too. */
const survivesExhaustion = Number(process.versions.node.split('.')[0]) < 24;

// By itself: its flag is the process's.
it.runIf(survivesExhaustion)(
  'a worker that runs out of memory is named with its step, and the others are freed',
  async () => {
    // Of the isolates that are made from here on.
    setFlagsFromString('--max-old-space-size=48');
    const hang = { at: 'gradient', call: 2, how: 'exhaust', rank: 1 } as const;
    const group = await startGroup(hang, 2, { barrierTimeout: 60 });
    const { workers } = group;
    await group.started;
    setFlagsFromString('--max-old-space-size=0');
    const { error, seconds } = await fail(group);
    await workers.close();
    expect(error).toMatchObject({
      ...{ name: 'WorkerError', rank: 1 },
      message:
        'worker 1 (cpu) failed in step 2 of epoch 3: Worker terminated due to reaching memory limit: JS heap out of memory',
    });
    expect(seconds).toBeLessThan(30);
    expect(workers.stuck).toBe(false);
  },
);

describe('of several that do not move', () => {
  const at = { epoch: 2, step: 5, waiting: false } as const;
  const hang = (changes: Partial<Hang>) =>
    hangOf({
      sightings: [],
      devices: ['cuda:0', 'cuda:1', 'cuda:2'],
      pending: new Set(),
      timeout: 600,
      ...changes,
    });

  it('each is told where it was expected', () => {
    const sightings = [
      { ...at, place: 'beginning' },
      { ...at, place: 'before the update', waiting: true },
      { ...at, place: 'updating' },
    ] as const;
    expect(hang({ sightings, pending: new Set([0, 1, 2]) }).message).toBe(
      `worker 0 (cuda:0) hangs: expected it to have begun epoch 2 within 600 s, got no sign of life; worker 2 (cuda:2) hangs: expected it at the barrier behind the update of step 5 of epoch 2 within 600 s, got no sign of life; worker 1 waits at the barrier before the update of step 5 of epoch 2; ${advice}`,
    );
  });

  it('one that is through with its work is missing where the others wait, and not where nobody does', () => {
    const idle = { ...at, place: 'idle' } as const;
    const waiting = [idle, { ...at, place: 'updating', waiting: true }] as const;
    expect(hang({ sightings: waiting, pending: new Set([1]) }).message).toMatch(
      /^worker 0 \(cuda:0\) hangs: expected it to take up its next work within 600 s, .*; worker 1 waits at the barrier behind/,
    );
    const busy = [idle, { ...at, place: 'publishing' }] as const;
    expect(hang({ sightings: busy, pending: new Set([1]) })).toMatchObject({ rank: 1 });
  });
});
