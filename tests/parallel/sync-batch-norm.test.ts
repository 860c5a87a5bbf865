// Batch norm over the shares of all workers: with it any number of workers does what one does with the whole batch.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAllGather, gatherLength } from '../../src/parallel/all-gather.ts';
import { Control, createControlBuffers } from '../../src/parallel/control.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { relativeDifference } from '../engines/fixtures.ts';
import { describeEngines } from '../engines/load.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

/** Steps of 18, 18 and 2 images: of the last one, three workers have 0, 1 and 1. */
const dataset = brightnessDataset({ train: 38, test: 10 });
const LAST = 2;
const groups: WorkerGroup[] = [];
afterAll(() => Promise.all(groups.map((group) => group.close())));

/** One step of an analysis epoch from a fresh start. */
async function afterStep(step: number, changes: Record<string, unknown>) {
  const config = testConfig({ batchSize: 18, model: 'resnet8', ...changes });
  const { graph, store, setups } = groupSetups(config, dataset);
  const group = new WorkerGroup(setups);
  groups.push(group);
  await group.all((worker) => worker.start());
  const order = {
    ...{ epoch: 1, learningRate: 0.1, analysed: true, steps: [step, step + 1] as const },
    factors: new Map(graph.layers.slice(0, 5).map(({ name }) => [name, 2])),
  };
  const parts = await group.all((worker) => worker.train(order));
  const { weights, velocity, accumulators, statistics } = store;
  return {
    lossSum: parts.reduce((sum, part) => sum + part.lossSum, 0),
    vectors: [weights, velocity, accumulators!.S],
    statistics,
  };
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
    ['the whole batch', 0, 2, {}],
    ['three shares', 0, 3, {}],
    ['less than a sample each', LAST, 3, {}],
    ['backpropagated factors', 0, 2, { amplification: { apply: 'backpropagated' } }],
    ['accumulated batches, the last one short', 0, 3, { batchSize: 9, accumulate: 3 }],
  ])('%s: a step is that of one worker', async (_, step, workers, changes) => {
    const [one, several] = await Promise.all([
      afterStep(step, worker(1, changes)),
      afterStep(step, worker(workers, changes)),
    ]);
    expect(Math.abs(several.lossSum / one.lossSum - 1)).toBeLessThan(1e-6);
    for (const [i, vector] of several.vectors.entries()) {
      expect(relativeDifference(vector, one.vectors[i])).toBeLessThan(1e-5);
    }
    for (const statistics of several.statistics) {
      expect(relativeDifference(statistics, one.statistics[0])).toBeLessThan(1e-6);
      expect([...statistics]).toEqual([...several.statistics[0]]);
    }
  });

  it('without it a step of two workers is another one', async () => {
    const [one, two] = await Promise.all([
      afterStep(0, worker(1)),
      afterStep(0, { ...worker(2), syncBatchNorm: false }),
    ]);
    expect(relativeDifference(two.vectors[1], one.vectors[1])).toBeGreaterThan(1e-2);
  });

  it('gives the same bits again', async () => {
    const [a, b] = [await afterStep(1, worker(2)), await afterStep(1, worker(2))];
    expect(a.lossSum).toBe(b.lossSum);
    for (const [i, vector] of a.vectors.entries()) expect([...vector]).toEqual([...b.vectors[i]]);
  });
});

describe('what workers gather', () => {
  const { graph } = groupSetups(testConfig({}), dataset);
  let control: Control;
  beforeAll(() => {
    control = new Control(createControlBuffers(1), 0);
  });

  it('fits the widest batch norm, and nothing wider is taken', () => {
    // 16 channels: two sums each, and a count.
    expect(gatherLength(graph, 3)).toBe(2 * 3 * 33);
    const allGather = createAllGather(new Float64Array(gatherLength(graph, 1)), 0, control);
    expect([...allGather(new Float64Array(33).fill(1))]).toEqual(Array(33).fill(1));
    expect(() => allGather(new Float64Array(34))).toThrow('expected at most 33 numbers, got 34');
  });

  it('stays until the next call is over', () => {
    const allGather = createAllGather(new Float64Array(gatherLength(graph, 1)), 0, control);
    const first = allGather(Float64Array.of(1));
    const second = allGather(Float64Array.of(2));
    expect([first[0], second[0]]).toEqual([1, 2]);
  });
});
