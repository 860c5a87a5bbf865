import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { averageStatistics } from '../../src/parallel/store.ts';
import { WorkerError, WorkerGroup } from '../../src/parallel/worker-group.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

const DYING_WORKER = fileURLToPath(new URL('./dying-worker.mjs', import.meta.url));
const dataset = brightnessDataset({ train: 64, test: 20 });
const order = { epoch: 1, learningRate: 0.1, factors: new Map(), analysed: false };

const thrownBy = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.each([
  ['exits', 'exit', 'worker 1 (cpu) failed: worker exited with code: 3'],
  ['throws', 'throw', 'worker 1 (cpu) failed: out of something'],
])('when a worker %s in the middle of an epoch', (_, death, message) => {
  it('the others are freed and the error names rank and cause, within five seconds', async () => {
    process.env.DEATH = death;
    const workers = new WorkerGroup(
      groupSetups(testConfig({ devices: devices(3) }), dataset).setups,
      DYING_WORKER,
    );
    await workers.all((worker) => worker.start());
    const started = performance.now();
    const error = await thrownBy(workers.all((worker) => worker.train(order)));
    await workers.close();
    expect(error).toBeInstanceOf(WorkerError);
    expect(error).toMatchObject({ rank: 1, message });
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

it('reports wrong input that only a worker can notice as wrong input', async () => {
  const config = { ...testConfig({}), devices: ['cuda:0'] };
  const workers = new WorkerGroup(groupSetups(config, dataset).setups);
  const error = await thrownBy(workers.all((worker) => worker.start()));
  await workers.close();
  expect(error).toBeInstanceOf(UsageError);
});

it('skips steps with non-finite gradients, leaves everything as it was, and gives up after 25 in a row', async () => {
  const { setups, store } = groupSetups(testConfig({ batchSize: 2, devices: devices(2) }), dataset);
  const workers = new WorkerGroup(setups);
  await workers.all((worker) => worker.start());
  store.weights[0] = Number.NaN;
  const before = store.weights.slice();
  const statistics = store.statistics[0].slice();
  const some = await workers.all((worker) => worker.train({ ...order, steps: [0, 3] }));
  const nothing = { iterations: 0, samples: 0, lossSum: 0 };
  expect(some).toMatchObject(Array(2).fill({ ...nothing, skipped: 3, diverged: false }));
  const more = await workers.all((worker) => worker.train(order));
  await workers.close();
  expect(more).toMatchObject(Array(2).fill({ ...nothing, skipped: 22, diverged: true }));
  expect(store.weights).toEqual(before);
  expect(store.velocity.every((v) => v === 0)).toBe(true);
  expect(store.statistics[0]).toEqual(statistics);
});

it('skips steps whose running variance overflows though every gradient is finite', async () => {
  const { setups, store, graph } = groupSetups(testConfig({ batchSize: 8, devices: devices(2) }), dataset);
  const workers = new WorkerGroup(setups);
  await workers.all((worker) => worker.start());
  const { offset, size } = graph.layers[0].parameters[0];
  for (let i = offset; i < offset + size; i++) store.weights[i] *= 1e20;
  const statistics = store.statistics[0].slice();
  const sums = await workers.all((worker) => worker.train({ ...order, steps: [0, 2] }));
  await workers.close();
  expect(store.gradients.every((gradient) => gradient.every(Number.isFinite))).toBe(true);
  expect(sums).toMatchObject(Array(2).fill({ iterations: 0, skipped: 2 }));
  expect(store.statistics[0]).toEqual(statistics);
});

it('averages the running statistics of the workers, for all of them', () => {
  const { store } = groupSetups(testConfig({ devices: devices(3) }), dataset);
  store.statistics.forEach((values, rank) => {
    values.fill(2 ** rank);
    values[1] = -rank;
  });
  averageStatistics(store);
  for (const values of store.statistics) {
    expect(values[0]).toBeCloseTo(7 / 3, 6);
    expect(values[1]).toBe(-1);
    expect(values[values.length - 1]).toBeCloseTo(7 / 3, 6);
  }
});
