import { expect, it } from 'vitest';
import { checkEpoch, DivergedError } from '../../src/parallel/divergence.ts';
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
  expect(() => checkEpoch(7, epoch, [1.5])).toThrow(message('3 of the 5 steps of epoch 7'));
});

it('an epoch whose loss cannot be told ends the run, though no step of it was skipped', () => {
  const sums = { iterations: 5, skipped: 0 };
  expect(() => checkEpoch(2, sums, [1, null])).toThrow(message('the evaluation after epoch 2'));
  expect(() => checkEpoch(2, sums, [])).not.toThrow();
});
