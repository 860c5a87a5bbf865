// What each seed changes in a worker's training, and that it changes nothing else. One worker, on the thread of the
// test.

import { beforeAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/data/dataset.ts';
import { partition } from '../../src/data/partition.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialParameters } from '../../src/models/initialise.ts';
import { Trainer } from '../../src/parallel/trainer.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

const SIZE = 40;
const bright = brightnessDataset({ train: SIZE, test: 20 });
/** Of black pictures crops and flips change nothing: a step's loss depends on its labels alone. */
const black: Dataset = {
  ...bright,
  train: { ...bright.train, images: new Uint8Array(bright.train.images.length) },
};
const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
const fixedWeights = initialParameters(graph, 99);
const order = { epoch: 1, learningRate: 0.1, factors: new Map(), analysed: false };

async function start(dataset: Dataset, changes: Record<string, unknown>) {
  const { store, setups } = groupSetups(testConfig(changes), dataset);
  return { store, trainer: await Trainer.create(setups[0]) };
}

/** Losses of the steps of an epoch, all from the same weights. */
async function stepLosses(dataset: Dataset, changes: Record<string, unknown>, steps: number) {
  const { store, trainer } = await start(dataset, changes);
  return Array.from({ length: steps }, (_, step) => {
    store.weights.set(fixedWeights);
    return trainer.train({ ...order, steps: [step, step + 1] }).lossSum;
  });
}

/** What is drawn for a run, seen each by itself. */
async function drawn(seeds: Record<string, number>) {
  const { store } = await start(bright, { seeds });
  return {
    weights: store.weights,
    order: await stepLosses(black, { seeds, batchSize: 8 }, SIZE / 8),
    // All images in one step: their order is of no consequence but for rounding.
    augmentation: (await stepLosses(bright, { seeds, batchSize: SIZE }, 1))[0] / SIZE,
  };
}

describe('the seed of', () => {
  let base: Awaited<ReturnType<typeof drawn>>;
  beforeAll(async () => {
    base = await drawn({});
  });
  const CHANGED = ['weights', 'order', 'augmentation'] as const;

  it.each([[['weights']], [['order']], [['augmentation']], [['selection', 'validation']]] as const)(
    '%j changes what is drawn by it, and nothing else',
    async (names) => {
      const other = await drawn(Object.fromEntries(names.map((name) => [name, 1])));
      const same = {
        weights: Buffer.from(base.weights.buffer).equals(Buffer.from(other.weights.buffer)),
        order: base.order.every((loss, step) => loss === other.order[step]),
        augmentation: Math.abs(base.augmentation - other.augmentation) < 1e-5,
      };
      expect(same).toEqual(Object.fromEntries(CHANGED.map((name) => [name, !names.includes(name as never)])));
      // Far from what rounding does.
      if (!same.augmentation) expect(Math.abs(base.augmentation - other.augmentation)).toBeGreaterThan(1e-3);
    },
  );

  it('validation changes which images are held out', () => {
    const heldOut = (seed: number) => [...partition(bright, { validation: 20, seed }).validation.indices];
    expect(heldOut(1)).not.toEqual(heldOut(0));
  });
});
