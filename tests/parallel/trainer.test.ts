// One worker, on the thread of the test.

import { expect, it } from 'vitest';
import { Trainer } from '../../src/parallel/trainer.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

const dataset = brightnessDataset({ train: 20, test: 10 });
const order = { learningRate: 0.1, factors: new Map(), analysed: false };

async function startTrainer() {
  const { store, setups } = groupSetups(testConfig({ batchSize: 8 }), dataset);
  return { store, trainer: await Trainer.create(setups[0]) };
}

it('steps that are ordered one by one, epoch after epoch and back, are those of whole epochs', async () => {
  const [whole, single, other] = [await startTrainer(), await startTrainer(), await startTrainer()];
  for (const epoch of [1, 2, 1]) {
    whole.trainer.train({ ...order, epoch });
    for (const step of [0, 1, 2]) single.trainer.train({ ...order, epoch, steps: [step, step + 1] });
    other.trainer.train({ ...order, epoch: 1 });
  }
  expect(single.store.weights).toEqual(whole.store.weights);
  expect(other.store.weights).not.toEqual(whole.store.weights);
});
