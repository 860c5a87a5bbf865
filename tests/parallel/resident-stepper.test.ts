// Steps on a device against steps over shared memory: one worker, the same engine below both, so the same bits.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { createTfjsEngine } from '../../src/engines/tfjs/engine.ts';
import { Control } from '../../src/parallel/control.ts';
import { type EpochOrder, Trainer } from '../../src/parallel/trainer.ts';
import { LAG, meddled, resident } from './fake-resident.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

/** Three steps an epoch, the last one short. */
const BATCH = { batchSize: 8, microBatch: 5 };
const dataset = brightnessDataset({ train: 8 * 2 + 4, test: 10 });
const plain = { epoch: 1, learningRate: 0.1, factors: new Map(), analysed: false };
const analysis = { ...plain, analysed: true };

let engine: Engine;
beforeAll(async () => {
  engine = await createTfjsEngine('wasm', 'cpu');
});
const folder = mkdtempSync(join(tmpdir(), 'gradamp-resident-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface RunOptions {
  readonly changes?: Record<string, unknown>;
  /** What happens to each worker's engine. */
  readonly on?: (engine: Engine, control: Control) => Engine;
  readonly directory?: string;
}

async function start(kind: 'shared' | 'resident', { changes, on = (same) => same, directory }: RunOptions) {
  const { graph, store, setups } = groupSetups(testConfig({ ...BATCH, ...changes }), dataset);
  const control = new Control(setups[0].control);
  const below = on(engine, control);
  const trainer = await Trainer.create(
    { ...setups[0], ...(directory && { directory: join(directory, kind) }) },
    kind === 'resident' ? resident(below) : below,
  );
  return { kind, graph, store, control, trainer };
}

type Run = Awaited<ReturnType<typeof start>>;

/** The same on shared memory and on the fake; what both leave. */
async function both<T>(play: (run: Run) => T, options: RunOptions = {}) {
  const [shared, fake] = [await start('shared', options), await start('resident', options)];
  const left = [shared, fake].map((run) => {
    const played = play(run);
    run.trainer.publish();
    const { weights, velocity, statistics } = run.store;
    return { played, weights, velocity, statistics: statistics[0], sums: run.trainer.measure() };
  });
  for (const { trainer } of [shared, fake]) trainer.dispose();
  return { shared: left[0], fake: left[1] };
}

/** The first number of a vector is a bad one behind the gradient of some steps. */
const spoilt =
  (vector: 'gradient' | 'statistics', bad: number, isSpoilt: (step: number) => boolean) => (below: Engine) =>
    meddled(below, (step, vectors) => {
      if (isSpoilt(step)) vectors[vector][0] = bad;
    });

/** Every second layer by a factor. */
const chosen = ({ graph }: Run) =>
  new Map(graph.layers.filter(({ index }) => index % 2 === 1).map(({ name }) => [name, 2]));

describe('an analysis epoch, and one that acts, are those of shared memory', () => {
  it.each([
    ['of the gradient', {}],
    ['of the learning rate', { amplification: { apply: 'learning-rate' } }],
    ['backpropagated', { amplification: { apply: 'backpropagated' } }],
    [
      'under weight decay that is measured',
      { amplification: { measureWeightDecay: true }, weightDecay: 0.1 },
    ],
    ['under clipping', { clipNorm: 0.5 }],
    ['under LARS and clipping', { lars: { trust: 0.05 }, clipNorm: 0.5 }],
    ['under Nesterov and label smoothing', { nesterov: true, labelSmoothing: 0.2 }],
    ['under accumulation and a cosine', { accumulate: 2, learningRate: { policy: 'cosine', peak: 0.2 } }],
  ])('with factors %s', async (_, changes) => {
    const { shared, fake } = await both(
      (run) => {
        const first = run.trainer.train(analysis);
        const second = run.trainer.train({ ...plain, epoch: 2, factors: chosen(run) });
        return [first, second, run.trainer.evaluate('test')];
      },
      { changes },
    );
    expect(fake).toEqual(shared);
    expect(shared.played[0]).toMatchObject({ samples: 20, skipped: 0, paused: false, diverged: false });
    expect(shared.sums.every(({ totalSum, size, dead }) => totalSum > 0 && dead < size)).toBe(true);
  });

  it('and factors make a difference', async () => {
    const weights = (act: boolean) =>
      both((run) => run.trainer.train({ ...plain, factors: act ? chosen(run) : new Map() }));
    expect((await weights(true)).fake.weights).not.toEqual((await weights(false)).fake.weights);
  });
});

describe('so are', () => {
  it('steps that are ordered one by one, as lr-find does, over several epochs', async () => {
    const { shared, fake } = await both(({ trainer }) =>
      Array.from({ length: 7 }, (_, index) => {
        const [epoch, step] = [1 + Math.floor(index / 3), index % 3];
        return trainer.train({ ...plain, epoch, learningRate: 0.01 * (index + 1), steps: [step, step + 1] });
      }),
    );
    expect(fake).toEqual(shared);
    expect(shared.played.map(({ samples }) => samples)).toEqual([8, 8, 4, 8, 8, 4, 8]);
  });

  it('an evaluation before training, between epochs and with the statistics of the store', async () => {
    const { shared, fake } = await both(({ trainer, store }) => {
      const fresh = trainer.evaluate('test');
      trainer.train(plain);
      const trained = trainer.evaluate('test');
      store.statistics[0].fill(0.5);
      return [fresh, trained, trainer.evaluate('test'), trainer.train({ ...plain, epoch: 2 })];
    });
    expect(fake).toEqual(shared);
    expect(new Set(shared.played.map(({ lossSum }) => lossSum)).size).toBe(4);
  });

  it.each([1, 2])('a momentum that starts from 0 in epoch %i', async (epoch) => {
    const play = ({ trainer, store }: Run, resetMomentum: boolean) => {
      // Of a run before.
      store.velocity.fill(0.01);
      return [1, 2].map((each) =>
        trainer.train({ ...plain, epoch: each, resetMomentum: resetMomentum && each === epoch }),
      );
    };
    const [reset, kept] = [await both((run) => play(run, true)), await both((run) => play(run, false))];
    expect(reset.fake).toEqual(reset.shared);
    expect(kept.fake).toEqual(kept.shared);
    expect(reset.fake.velocity).not.toEqual(kept.fake.velocity);
  });

  it('an epoch that is paused in its middle', async () => {
    const { shared, fake } = await both(({ trainer }) => trainer.train(plain), {
      on: (below, control) =>
        meddled(below, (step) => {
          if (step === 1) control.requestStop();
        }),
    });
    expect(fake).toEqual(shared);
    expect(fake.played).toMatchObject({ iterations: 2, samples: 16, paused: true, diverged: false });
  });

  it.each([
    ['the gradient', 'gradient'],
    ['a running variance', 'statistics'],
  ] as const)('an epoch with a step that is skipped for %s', async (_, vector) => {
    const { shared, fake } = await both(({ trainer }) => trainer.train(analysis), {
      on: spoilt(vector, Number.POSITIVE_INFINITY, (step) => step === 1),
    });
    expect(shared.played.nonFinite).toMatchObject({ epoch: 1, step: 2 });
    // A device tells it only where the epoch ends with such a step.
    shared.played = { ...shared.played, nonFinite: undefined };
    expect(fake).toEqual(shared);
    expect(fake.played).toMatchObject({ iterations: 2, samples: 12, skipped: 1 });
  });
});

it.each(['shared', 'resident'] as const)(
  'on %s, an analysis starts from 0 though its first step is skipped',
  async (kind) => {
    const { trainer } = await start(kind, {
      on: spoilt('gradient', Number.NaN, (step) => step === 3),
    });
    trainer.train(analysis);
    expect(trainer.measure().every(({ totalSum }) => totalSum > 0)).toBe(true);
    expect(trainer.train({ ...analysis, epoch: 2, steps: [0, 1] }).skipped).toBe(1);
    for (const sums of trainer.measure()) {
      expect(sums).toEqual({ netSum: 0, totalSum: 0, ratioSum: 0, size: sums.size, dead: sums.size });
    }
    trainer.dispose();
  },
);

it('publishes nothing before any step, and weights and momentum behind one', async () => {
  const { trainer, store } = await start('resident', {});
  const drawn = store.weights.slice();
  trainer.publish();
  expect(store.weights).toEqual(drawn);
  trainer.train(plain);
  expect(store.weights).toEqual(drawn);
  trainer.publish();
  expect(store.weights).not.toEqual(drawn);
  expect(store.velocity.some((value) => value !== 0)).toBe(true);
  trainer.dispose();
});

it('an epoch that ended for 25 skipped steps in a row has diverged, though a step in flight then succeeded', async () => {
  const { trainer } = await start('resident', {
    changes: { batchSize: 1, microBatch: undefined },
    on: spoilt('gradient', Number.NaN, (step) => step < 25),
  });
  // Of 20 steps each; those that were skipped in a row count on.
  expect(trainer.train(plain)).toMatchObject({ skipped: 20, iterations: 0, diverged: false });
  const sums = trainer.train({ ...plain, epoch: 2 });
  expect(sums).toMatchObject({ skipped: 5, iterations: LAG, diverged: true, paused: false });
  trainer.dispose();
});

it.each([
  ['gradient', 'gradient of layer conv1', 'gradient of layer conv1'],
  ['statistics', 'activations at layer bn1', 'the activations or the loss'],
] as const)(
  'tells where an epoch went wrong that ends with steps skipped for the %s',
  async (vector, ...where) => {
    const { shared, fake } = await both(({ trainer }) => trainer.train({ ...plain, epoch: 2 }), {
      on: spoilt(vector, Number.NaN, (step) => step > 0),
    });
    expect(shared.played.nonFinite).toEqual({ epoch: 2, step: 2, where: where[0] });
    expect(fake.played.nonFinite).toEqual({ epoch: 2, step: 3, where: where[1] });
  },
);

it.each([
  ['gradient', Number.NaN],
  ['statistics', Number.POSITIVE_INFINITY],
] as const)('records the gradients of steps, but not of one skipped for its %s', async (vector, bad) => {
  const directory = join(folder, vector);
  await both(({ trainer }) => trainer.train(plain), {
    directory,
    changes: { dumpGradients: [1, 3] },
    on: spoilt(vector, bad, (step) => step === 1),
  });
  const [shared, fake] = ['shared', 'resident'].map((kind) => join(directory, kind, 'gradients'));
  const files = ['step-000001.f32', 'step-000003.f32'];
  for (const path of [shared, fake]) expect(readdirSync(path).sort()).toEqual(files);
  for (const file of files) {
    expect(readFileSync(join(fake, file)).equals(readFileSync(join(shared, file)))).toBe(true);
  }
});

it('tells what its device does otherwise', async () => {
  const { setups } = groupSetups(testConfig(BATCH), dataset);
  const trainer = await Trainer.create(setups[0], resident(engine, 'no graphs today'));
  const order: EpochOrder = { ...plain, steps: [0, 1] };
  expect(trainer.train(order).warning).toBe('no graphs today');
  trainer.dispose();
});
