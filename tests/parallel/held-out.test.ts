// That the images held out have no part in training. One worker, on the thread of the test.

import { expect, it } from 'vitest';
import type { Dataset } from '../../src/data/dataset.ts';
import { partition } from '../../src/data/partition.ts';
import { Trainer } from '../../src/parallel/trainer.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

const SIZE = 40;
const bright = brightnessDataset({ train: SIZE, test: 20 });
const { training, validation } = partition(bright, { validation: 10, seed: 5 });

/** The set with other pictures, each of one shade, in place of some. */
function repainted(positions: Iterable<number>): Dataset {
  const images = bright.train.images.slice();
  const size = images.length / SIZE;
  for (const position of positions) images.fill(position, position * size, (position + 1) * size);
  return { ...bright, train: { ...bright.train, images } };
}

async function trainedOn(dataset: Dataset) {
  const { store, setups } = groupSetups(testConfig({ validation: 10, batchSize: 8, seed: 5 }), dataset);
  const trainer = await Trainer.create(setups[0]);
  const trained = trainer.train({ epoch: 1, learningRate: 0.1, factors: new Map(), analysed: false });
  const validated = trainer.evaluate('validation');
  return { weights: store.weights, trained, validated, tested: trainer.evaluate('test') };
}

it('held-out images have no part in training, and are what is validated', async () => {
  const [whole, changed] = [await trainedOn(bright), await trainedOn(repainted(validation.indices))];
  expect(whole.trained).toMatchObject({ samples: 30, iterations: 4 });
  expect(changed.weights).toEqual(whole.weights);
  expect(changed.trained).toEqual(whole.trained);
  expect(changed.tested).toEqual(whole.tested);
  expect(whole.tested.samples).toBe(20);
  expect(whole.validated.samples).toBe(10);
  expect(changed.validated.lossSum).not.toBe(whole.validated.lossSum);
});

it('every other image is trained on', async () => {
  const { weights } = await trainedOn(bright);
  for (const position of [training.indices[0], training.indices[29]]) {
    expect((await trainedOn(repainted([position]))).weights).not.toEqual(weights);
  }
});
