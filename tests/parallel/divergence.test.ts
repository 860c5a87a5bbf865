import { describe, expect, it } from 'vitest';
import { checkEpoch, DivergedError, skippedTooMany } from '../../src/parallel/divergence.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { brightnessDataset, devices, groupSetups, testConfig } from './fixtures.ts';

const message = (where: string) =>
  `training diverged: expected finite gradients and losses, got NaN or infinity in ${where}; lower the learning rate or the amplification factor`;

it('an epoch may skip half of its steps, and not one more, in a row or not', async () => {
  const dataset = brightnessDataset({ train: 10, test: 10 });
  const { setups, store } = groupSetups(testConfig({ batchSize: 2, devices: devices(2) }), dataset);
  const workers = new WorkerGroup(setups);
  const epoch = { iterations: 0, skipped: 0 };
  try {
    await workers.all((worker) => worker.start());
    const sound = store.weights[0];
    for (const [step, spoilt] of [true, false, true, false, true].entries()) {
      store.weights[0] = spoilt ? Number.NaN : sound;
      const order = { epoch: 1, learningRate: 1e-3, factors: new Map(), analysed: false };
      const [sums] = await workers.all((worker) => worker.train({ ...order, steps: [step, step + 1] }));
      expect(sums.diverged).toBe(false);
      epoch.iterations += sums.iterations;
      epoch.skipped += sums.skipped;
      if (step === 3) {
        expect(epoch).toEqual({ iterations: 2, skipped: 2 });
        checkEpoch(7, epoch, [1.5, 2.5]);
      }
    }
  } finally {
    await workers.close();
  }
  expect(epoch).toEqual({ iterations: 2, skipped: 3 });
  expect(() => checkEpoch(7, epoch, [1.5, 2.5])).toThrow(new DivergedError('3 of the 5 steps of epoch 7'));
  const nonFinite = { epoch: 7, step: 1, where: 'the loss' };
  expect(() => checkEpoch(7, { ...epoch, nonFinite }, [1.5])).toThrow(
    message('3 of the 5 steps of epoch 7: the loss at step 1 of epoch 7'),
  );
  expect(() => checkEpoch(7, epoch, [1.5])).toThrow(message('3 of the 5 steps of epoch 7'));
});

it('steps skipped in a row end a run with the limit, the step, and what was not finite', () => {
  const nonFinite = { epoch: 3, step: 6, where: 'activations at layer bn1' };
  const steps = { iterations: 5, skipped: 25 };
  expect(skippedTooMany(25, 3, [steps, { ...steps, nonFinite }])).toEqual(
    new DivergedError('25 steps in a row (skipLimit), up to step 30 of epoch 3', nonFinite),
  );
  expect(skippedTooMany(25, 3, [steps, { ...steps, nonFinite }]).message).toBe(
    'training diverged: expected finite gradients and losses, got NaN or infinity in 25 steps in a row (skipLimit), up to step 30 of epoch 3: activations at layer bn1 at step 6 of epoch 3; lower the learning rate or the amplification factor',
  );
  expect(skippedTooMany(4, 1, [{ iterations: 0, skipped: 4 }]).message).toBe(
    message('4 steps in a row (skipLimit), up to step 4 of epoch 1'),
  );
});

describe('what the workers know of the steps skipped last', () => {
  const dataset = brightnessDataset({ train: 10, test: 10 });
  const order = { epoch: 2, learningRate: 1e-3, factors: new Map(), analysed: false };
  const config = testConfig({ batchSize: 2, devices: devices(2), skipLimit: 4 });

  it('is the step and the tensor, over epochs, up to the limit of the config; a step that is sound ends it', async () => {
    const { setups, store, graph } = groupSetups(config, dataset);
    const workers = new WorkerGroup(setups);
    const train = (epoch: number, steps: readonly [number, number]) =>
      workers.all((worker) => worker.train({ ...order, epoch, steps }));
    const { offset } = graph.layers[1].parameters[1];
    try {
      await workers.all((worker) => worker.start());
      expect((await train(2, [0, 2])).map(({ nonFinite }) => nonFinite)).toEqual([undefined, undefined]);
      const sound = store.weights[offset];
      store.weights[offset] = Number.NaN;
      const nonFinite = { epoch: 2, step: 3, where: `weights ${graph.layers[1].parameters[1].name}` };
      const skipped = { skipped: 3, skippedInARow: 3, diverged: false, nonFinite };
      expect(await train(2, [2, 5])).toMatchObject([skipped, skipped]);
      expect(await train(3, [0, 5])).toMatchObject(
        Array(2).fill({ skipped: 1, skippedInARow: 4, diverged: true, nonFinite }),
      );
      store.weights[offset] = sound;
      await train(3, [1, 2]);
      expect((await train(3, [2, 3])).map(({ nonFinite }) => nonFinite)).toEqual([undefined, undefined]);
    } finally {
      await workers.close();
    }
  });

  it('is nothing where the numbers of another worker are not finite, and its own are', async () => {
    const { setups, store } = groupSetups(config, dataset);
    const workers = new WorkerGroup(setups);
    try {
      await workers.all((worker) => worker.start());
      // Its statistics alone.
      store.statistics[1][0] = Number.NaN;
      const sums = await workers.all((worker) => worker.train({ ...order, steps: [0, 1] }));
      expect(sums.map(({ skipped }) => skipped)).toEqual([1, 1]);
      expect(sums.map(({ nonFinite }) => nonFinite)).toEqual([
        undefined,
        { epoch: 2, step: 1, where: 'activations at layer bn1' },
      ]);
    } finally {
      await workers.close();
    }
  });
});

it('an epoch whose loss cannot be told ends the run, though no step of it was skipped', () => {
  const sums = { iterations: 5, skipped: 0 };
  expect(() => checkEpoch(2, sums, [1, null])).toThrow(message('the evaluation after epoch 2'));
  expect(() => checkEpoch(2, sums, [])).not.toThrow();
});
