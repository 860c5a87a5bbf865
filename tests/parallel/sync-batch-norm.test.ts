// Batch norm over the shares of all workers: with it any number of workers does what one does with the whole batch.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAllGather, gatherLength } from '../../src/parallel/all-gather.ts';
import { Control, createControlBuffers } from '../../src/parallel/control.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { relativeDifference } from '../engines/fixtures.ts';
import { describeEngines } from '../engines/load.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

/** Steps of 6, 6, 6 and 2 images; of the last one, three workers have 0, 1 and 1. */
const dataset = brightnessDataset({ train: 20, test: 10 });
const FULL = [0, 1, 2];
const LAST = 3;
const groups: WorkerGroup[] = [];
afterAll(() => Promise.all(groups.map((group) => group.close())));

/** A group that is told one step at a time. */
async function startGroup(changes: Record<string, unknown>) {
  const config = testConfig({ batchSize: 6, ...changes });
  const { graph, store, setups } = groupSetups(config, dataset);
  const group = new WorkerGroup(setups);
  groups.push(group);
  await group.all((worker) => worker.start());
  const factors = new Map(graph.layers.slice(0, 5).map(({ name }) => [name, 2]));
  const step = async (index: number) => {
    const order = {
      epoch: 1,
      learningRate: 0.1,
      analysed: true,
      steps: [index, index + 1] as const,
      factors,
    };
    const parts = await group.all((worker) => worker.train(order));
    return parts.reduce((sum, { lossSum }) => sum + lossSum, 0);
  };
  return { store, step };
}

type Group = Awaited<ReturnType<typeof startGroup>>;

function copyState(from: Group['store'], to: Group['store']): void {
  to.weights.set(from.weights);
  to.velocity.set(from.velocity);
  for (const statistics of to.statistics) statistics.set(from.statistics[0]);
}

/** Steps of `several` from where `one` stands before each: by step, how far the momentum is from one's. */
async function follow(one: Group, several: Group, steps: readonly number[]): Promise<readonly number[]> {
  const differences: number[] = [];
  for (const index of steps) {
    copyState(one.store, several.store);
    const [expected, lossSum] = [await one.step(index), await several.step(index)];
    expect(Math.abs(lossSum / expected - 1)).toBeLessThan(1e-6);
    for (const statistics of several.store.statistics) {
      expect(relativeDifference(statistics, one.store.statistics[0])).toBeLessThan(1e-6);
      expect([...statistics]).toEqual([...several.store.statistics[0]]);
    }
    differences.push(relativeDifference(several.store.velocity, one.store.velocity));
  }
  return differences.sort((a, b) => a - b);
}

describeEngines(['wasm', 'torch'], 'synchronised batch norm', (name) => {
  const engine = name === 'torch' ? { engine: 'torch', threads: 1 } : { engine: 'tfjs' };
  const worker = (count: number, changes: Record<string, unknown> = {}) => ({
    ...engine,
    ...changes,
    devices: devices(count),
    syncBatchNorm: true,
  });

  it.each([
    ['a share each', FULL, 2, {}],
    ['less than a sample each', [LAST], 3, {}],
    ['backpropagated factors', FULL, 2, { amplification: { apply: 'backpropagated' } }],
    ['two accumulated batches', FULL, 3, { batchSize: 3, accumulate: 2 }],
  ])('%s: a step is that of one worker', async (_, steps, workers, changes) => {
    const [one, several] = await Promise.all([
      startGroup(worker(1, changes)),
      startGroup(worker(workers, changes)),
    ]);
    const differences = await follow(one, several, steps);
    // In some steps a ReLU's near-tie may fall the other way: sums over a batch round otherwise in shares.
    expect(differences[differences.length >> 1]).toBeLessThan(1e-5);
  });

  it('without it a step of two workers is another one', async () => {
    const [one, two] = await Promise.all([
      startGroup(worker(1)),
      startGroup({ ...worker(2), syncBatchNorm: false }),
    ]);
    await Promise.all([one, two].map(({ step }) => step(0)));
    expect(relativeDifference(two.store.velocity, one.store.velocity)).toBeGreaterThan(0.1);
  });

  it('gives the same bits again', async () => {
    const runs = await Promise.all([startGroup(worker(2)), startGroup(worker(2))]);
    const losses = await Promise.all(runs.map(({ step }) => step(0)));
    expect(losses[0]).toBe(losses[1]);
    const [a, b] = runs.map(({ store }) => [...store.weights]);
    expect(a).toEqual(b);
  });
});

describe('what workers gather', () => {
  const { graph } = groupSetups(testConfig({}), dataset);
  let control: Control;
  beforeAll(() => {
    control = new Control(createControlBuffers(1), 0);
  });

  it('fits the widest batch norm, and nothing wider is taken', () => {
    // 16 channels: two sums each, a count and a tag.
    expect(gatherLength(graph, 3)).toBe(2 * 3 * 34);
    const allGather = createAllGather(new Float64Array(gatherLength(graph, 1)), 0, control);
    expect([...allGather(new Float64Array(33).fill(1))]).toEqual(Array(33).fill(1));
    expect(() => allGather(new Float64Array(34))).toThrow('expected at most 33 numbers, got 34');
  });

  it('is refused where another worker is not at the same batch norm', () => {
    const memory = new Float64Array(gatherLength(graph, 2));
    const buffers = createControlBuffers(2);
    const allGather = createAllGather(memory, 0, new Control(buffers, 0));
    // The word counts who has arrived at a barrier: the other one is at that of a step, and gives nothing.
    Atomics.add(buffers.words, 0, 1);
    expect(() => allGather(Float64Array.of(1))).toThrow(
      'expected worker 1 at the batch norm where worker 0 is',
    );
  });

  it('stays until the next call is over', () => {
    const allGather = createAllGather(new Float64Array(gatherLength(graph, 1)), 0, control);
    const first = allGather(Float64Array.of(1));
    const second = allGather(Float64Array.of(2));
    expect([first[0], second[0]]).toEqual([1, 2]);
  });
});
