import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directionality } from '../../src/amplification/directionality.ts';
import { select } from '../../src/amplification/selection.ts';
import { candidates } from '../../src/models/candidates.ts';
import { measureCandidates } from '../../src/parallel/epoch.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { relativeDifference } from '../engines/fixtures.ts';
import { brightnessDataset, DEFAULT_RULE, devices, groupSetups, testConfig } from './fixtures.ts';

/** A batch of 26 in passes of 8 is 8, 8, 8, 2; the last batch of the epoch, 10 samples, is 8, 2. */
const BATCH = { batchSize: 26, microBatch: 8 };
const STEPS_PER_EPOCH = 3;
const dataset = brightnessDataset({ train: 26 * 2 + 10, test: 30 });

/** Workers that train the same steps from the same weights; several groups live side by side. */
function startGroup(worldSize: number, changes: Record<string, unknown> = {}) {
  const config = testConfig({ ...BATCH, devices: devices(worldSize), ...changes });
  const { graph, store, setups } = groupSetups(config, dataset);
  const workers = new WorkerGroup(setups);
  const accumulators = store.accumulators!;
  return {
    worldSize,
    graph,
    store,
    workers,
    accumulators,
    /** One optimizer step, counted from 0 over the epochs, with every second layer amplified by the factor. */
    async step(step: number, learningRate: number, factor = 2) {
      const epoch = 1 + Math.floor(step / STEPS_PER_EPOCH);
      const first = step % STEPS_PER_EPOCH;
      const chosen = graph.layers.filter(({ index }) => index % 2 === 1);
      const order = {
        epoch,
        learningRate,
        factors: new Map(chosen.map(({ name }) => [name, factor])),
        analysed: true,
        steps: [first, first + 1] as const,
      };
      const sums = await workers.all((worker) => worker.train(order));
      return {
        loss: sums.reduce((sum, { lossSum }) => sum + lossSum, 0),
        samples: sums.reduce((sum, { samples }) => sum + samples, 0),
      };
    },
    /** The sum of the workers' gradients. */
    gradient: () => store.gradients[0].map((_, i) => store.gradients.reduce((sum, g) => sum + g[i], 0)),
    layerSums: () => measureCandidates(workers, candidates(graph)),
  };
}

describe('with passes of a fixed size', () => {
  const groups = [1, 2, 3, 4].map((worldSize) => startGroup(worldSize));
  const [reference, ...others] = groups;
  beforeAll(() => Promise.all(groups.map(({ workers }) => workers.all((worker) => worker.start()))));
  afterAll(() => Promise.all(groups.map(({ workers }) => workers.close())));

  it('1, 2, 3 and 4 workers compute the same gradients, updates and accumulators, step-locked over 12 steps', async () => {
    for (let step = 0; step < 12; step++) {
      for (const { store } of others) {
        store.weights.set(reference.store.weights);
        store.velocity.set(reference.store.velocity);
      }
      const { loss, samples } = await reference.step(step, 0.1);
      expect(samples).toBe(step % STEPS_PER_EPOCH === 2 ? 10 : 26);
      const gradient = reference.gradient();
      for (const group of others) {
        const result = await group.step(step, 0.1);
        const label = `step ${step}, ${group.worldSize} workers`;
        expect(result.samples, label).toBe(samples);
        expect(Math.abs(result.loss - loss) / loss, label).toBeLessThan(1e-5);
        expect(relativeDifference(group.gradient(), gradient), label).toBeLessThan(1e-5);
        expect(relativeDifference(group.store.weights, reference.store.weights), label).toBeLessThan(1e-5);
        expect(relativeDifference(group.store.velocity, reference.store.velocity), label).toBeLessThan(1e-5);
        for (const sum of ['S', 'A'] as const) {
          expect(
            relativeDifference(group.accumulators[sum], reference.accumulators[sum]),
            label,
          ).toBeLessThan(1e-5);
        }
      }
    }
  });

  it('and from them the same G, G and choice of layers', async () => {
    const expected = await reference.layerSums();
    const rule = { ...DEFAULT_RULE, case: 2, threshold: 0.7 } as const;
    for (const group of others) {
      const layers = await group.layerSums();
      for (const [index, { name, sums }] of layers.entries()) {
        const [ours, theirs] = [directionality(sums), directionality(expected[index].sums)];
        expect(ours.G, name).toBeCloseTo(theirs.G, 5);
        expect(ours.Gprime, name).toBeCloseTo(theirs.Gprime, 5);
        expect(sums.size).toBe(expected[index].sums.size);
      }
      for (const measure of ['G', 'Gprime'] as const) {
        const chosen = [expected, layers].map((values) =>
          select({ ...rule, measure }, values, {
            epoch: 1,
            iterations: 3,
            seed: 0,
            index: 0,
            factor: 2,
          }).layers.map((layer) => layer.chosen),
        );
        expect(chosen[0]).toContain(true);
        expect(chosen[0]).toContain(false);
        expect(chosen[1]).toEqual(chosen[0]);
      }
    }
  });
});

describe.each([
  ['clipping', { clipNorm: 0.5 }],
  ['LARS', { lars: { trust: 0.05 } }],
  ['a cosine', { learningRate: { policy: 'cosine', peak: 0.2, warmup: 0.5 } }],
  ['Nesterov', { nesterov: true }],
  ['label smoothing', { labelSmoothing: 0.2 }],
  [
    'accumulation, clipping, LARS and a one-cycle at once',
    {
      ...{ batchSize: 13, microBatch: 4, accumulate: 2, clipNorm: 0.5, lars: { trust: 0.05 } },
      learningRate: { policy: 'one-cycle', peak: 0.2, warmup: 0.5 },
    },
  ],
  ['the learning rate amplified', { amplification: { apply: 'learning-rate' } }],
  ['backpropagated amplification', { amplification: { apply: 'backpropagated' } }],
  ['weight decay in the measure', { amplification: { measureWeightDecay: true }, weightDecay: 0.1 }],
])('with %s', (_, changes) => {
  it('two workers do what one does, and something else than without', async () => {
    const [one, two, without] = await Promise.all([
      afterTwoSteps(1, changes),
      afterTwoSteps(2, changes),
      withoutOptions(),
    ]);
    expect(relativeDifference(two, one)).toBeLessThan(1e-5);
    expect(relativeDifference(without, one)).toBeGreaterThan(5e-5);
  });
});

it('two accumulated batches of 13 are one of 26 in passes of 13', async () => {
  const [accumulated, whole, one] = await Promise.all([
    afterTwoSteps(1, { batchSize: 13, accumulate: 2, clipNorm: 0.5, microBatch: 13 }),
    afterTwoSteps(1, { batchSize: 26, microBatch: 13, clipNorm: 0.5 }),
    afterTwoSteps(1, { batchSize: 13, microBatch: 13, clipNorm: 0.5 }),
  ]);
  expect(relativeDifference(accumulated, whole)).toBeLessThan(1e-5);
  expect(relativeDifference(one, whole)).toBeGreaterThan(5e-5);
});

let plain: Promise<readonly number[]> | undefined;
/** What all of them are compared with, computed once. */
function withoutOptions(): Promise<readonly number[]> {
  plain ??= afterTwoSteps(1, {});
  return plain;
}

/** Weights and S after two steps. */
async function afterTwoSteps(
  worldSize: number,
  changes: Record<string, unknown>,
): Promise<readonly number[]> {
  const { workers, step, store, accumulators } = startGroup(worldSize, changes);
  try {
    await workers.all((worker) => worker.start());
    for (const i of [0, 1]) await step(i, 0.1);
    return [...store.weights, ...accumulators.S];
  } finally {
    await workers.close();
  }
}

it('two workers running freely follow one to 1e-3 in loss over 20 steps at learning rate 0.01', async () => {
  const runs = [1, 2].map((worldSize) => startGroup(worldSize, { model: 'resnet8' }));
  try {
    const losses = await Promise.all(
      runs.map(async ({ workers, step }) => {
        await workers.all((worker) => worker.start());
        let last = { loss: 0, samples: 1 };
        for (let i = 0; i < 20; i++) last = await step(i, 0.01, 1);
        return last.loss / last.samples;
      }),
    );
    expect(Math.abs(losses[0] - losses[1])).toBeLessThan(1e-3);
  } finally {
    await Promise.all(runs.map(({ workers }) => workers.close()));
  }
});

it('evaluates every test image once, whatever the number of workers', async () => {
  const results = await Promise.all(
    [1, 3].map(async (worldSize) => {
      const { workers, store, step } = startGroup(worldSize);
      try {
        await workers.all((worker) => worker.start());
        await step(0, 0.01);
        // The running statistics depend on who saw which passes; what is compared here is the evaluation.
        for (const statistics of store.statistics) statistics.fill(0.5);
        const parts = await workers.all((worker) => worker.evaluate('test'));
        const total = (key: 'lossSum' | 'correct' | 'samples') =>
          parts.reduce((sum, part) => sum + part[key], 0);
        return [total('samples'), total('correct'), total('lossSum')];
      } finally {
        await workers.close();
      }
    }),
  );
  expect(results[0][0]).toBe(30);
  expect(results[1][0]).toBe(30);
  expect(results[1][1]).toBe(results[0][1]);
  expect(results[1][2]).toBeCloseTo(results[0][2], 3);
});
