// Worker threads on the engine torch: the same bits again, the same step whatever the number of workers, and the native
// update where TypeScript's would be.

import { afterAll, describe, expect, it } from 'vitest';
import { isBuilt } from '../../src/engines/torch/load.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { relativeDifference } from '../engines/fixtures.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

const dataset = brightnessDataset({ train: 96, test: 10 });
const groups: WorkerGroup[] = [];
afterAll(() => Promise.all(groups.map((group) => group.close())));

/** Weights, momentum, S and A after some steps of an amplified analysis epoch, from a fresh start. */
async function trained(changes: Record<string, unknown>, steps: number) {
  const config = testConfig({ batchSize: 32, microBatch: 8, lars: { trust: 0.02 }, clipNorm: 1, ...changes });
  const { graph, store, setups } = groupSetups(config, dataset);
  const group = new WorkerGroup(setups);
  groups.push(group);
  await group.all((worker) => worker.start());
  const order = {
    ...{ epoch: 1, learningRate: 0.5, analysed: true, steps: [0, steps] as const },
    factors: new Map(graph.layers.slice(0, 5).map(({ name }) => [name, 2])),
  };
  const sums = await group.all((worker) => worker.train(order));
  const { weights, velocity, accumulators } = store;
  const lossSum = sums.reduce((sum, part) => sum + part.lossSum, 0);
  return { lossSum, vectors: [weights, velocity, accumulators!.S, accumulators!.A] };
}

const bits = (vectors: readonly Float32Array[]) =>
  Buffer.concat(vectors.map((v) => Buffer.from(v.buffer, v.byteOffset, v.byteLength)));

describe.skipIf(!isBuilt())('on torch', () => {
  const torch = { engine: 'torch', threads: 2, model: { name: 'resnet8', width: 1 } };

  it('two runs of two workers end at the same bits', async () => {
    const run = () => trained({ ...torch, devices: devices(2), deterministic: true }, 3);
    const [a, b] = [await run(), await run()];
    expect(a.lossSum).toBe(b.lossSum);
    expect(bits(a.vectors).equals(bits(b.vectors))).toBe(true);
    const shorter = await trained({ ...torch, devices: devices(2) }, 2);
    expect(bits(shorter.vectors).equals(bits(a.vectors))).toBe(false);
  });

  it.each([
    ['one worker', { ...torch, devices: devices(1) }, 1e-5],
    ['three workers', { ...torch, devices: devices(3) }, 1e-5],
    // Another arithmetic decides some ReLU's near-tie otherwise.
    ['tfjs', { ...torch, engine: 'tfjs', threads: undefined, devices: devices(2) }, 5e-3],
  ])('a step of two workers is that of %s', async (_, changes, tolerance) => {
    const two = await trained({ ...torch, devices: devices(2) }, 1);
    const other = await trained(changes, 1);
    expect(Math.abs(two.lossSum / other.lossSum - 1)).toBeLessThan(1e-5);
    for (const [i, vector] of two.vectors.entries()) {
      expect(relativeDifference(vector, other.vectors[i])).toBeLessThan(tolerance);
    }
  });
});
