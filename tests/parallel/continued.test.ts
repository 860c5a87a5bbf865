// An epoch that is gone on with by other steppers: from what was published in its middle, and totals that are carried on.

import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { createTfjsEngine } from '../../src/engines/tfjs/engine.ts';
import type { ParameterStore } from '../../src/parallel/store.ts';
import { type EpochSums, Trainer } from '../../src/parallel/trainer.ts';
import { shardOf } from '../../src/training/update.ts';
import { meddled, resident } from './fake-resident.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

/** Six steps an epoch, the last one short. */
const dataset = brightnessDataset({ train: 8 * 5 + 4, test: 10 });
const changes = { batchSize: 8, microBatch: 5, clipNorm: 0.5, nesterov: true, weightDecay: 0.01 };
const analysis = { epoch: 1, learningRate: 0.1, factors: new Map(), analysed: true };

let engine: Engine;
beforeAll(async () => {
  engine = await createTfjsEngine('wasm', 'cpu');
});

const KINDS = ['shared', 'resident'] as const;

async function start(kind: (typeof KINDS)[number], below: Engine = engine) {
  const { graph, store, setups } = groupSetups(testConfig(changes), dataset);
  const trainer = await Trainer.create(setups[0], kind === 'resident' ? resident(below) : below);
  return { graph, store, trainer };
}

/** What a checkpoint would hold. */
const vectorsOf = ({ weights, velocity, statistics: [statistics], accumulators }: ParameterStore) => ({
  ...{ weights, velocity, statistics, S: accumulators!.S, A: accumulators!.A },
});

function copy(from: ParameterStore, to: ParameterStore): void {
  const target = vectorsOf(to);
  for (const [name, values] of Object.entries(vectorsOf(from)))
    target[name as keyof typeof target].set(values);
}

const spoilt = (isSpoilt: (step: number) => boolean) =>
  meddled(engine, (step, { gradient }) => {
    if (isSpoilt(step)) gradient[0] = Number.NaN;
  });

describe.each(KINDS)('on %s', (kind) => {
  it('it ends with the bits of one that was not interrupted: weights, momentum, statistics, S, A, totals', async () => {
    const whole = await start(kind);
    const expected = whole.trainer.train(analysis);
    whole.trainer.publish();

    const first = await start(kind);
    const totals = first.trainer.train({ ...analysis, steps: [0, 3] });
    expect(totals).toMatchObject({ samples: 24, iterations: 3 });
    first.trainer.publish();
    const second = await start(kind);
    copy(first.store, second.store);
    const sums = second.trainer.train({ ...analysis, steps: [3, 6], totals });
    second.trainer.publish();

    expect(sums).toEqual(expected);
    expect(sums).toMatchObject({ samples: 44, iterations: 6 });
    expect(vectorsOf(second.store)).toEqual(vectorsOf(whole.store));
    expect(second.trainer.measure()).toEqual(whole.trainer.measure());
    expect(second.store.accumulators!.A.some((value) => value > 0)).toBe(true);
    for (const { trainer } of [whole, first, second]) trainer.dispose();
  });

  it('and S and A make a difference: without them the sums of the analysis are other ones', async () => {
    const first = await start(kind);
    const totals = first.trainer.train({ ...analysis, steps: [0, 3] });
    first.trainer.publish();
    const [second, forgetful] = [await start(kind), await start(kind)];
    for (const { store } of [second, forgetful]) copy(first.store, store);
    for (const sums of Object.values(forgetful.store.accumulators!)) sums.fill(0);
    for (const { trainer } of [second, forgetful]) trainer.train({ ...analysis, steps: [3, 6], totals });
    expect(forgetful.trainer.measure()).not.toEqual(second.trainer.measure());
    for (const { trainer } of [first, second, forgetful]) trainer.dispose();
  });

  it('steps that were skipped in a row count on', async () => {
    const first = await start(
      kind,
      spoilt((step) => step >= 1),
    );
    const totals = first.trainer.train({ ...analysis, steps: [0, 3] });
    expect(totals).toMatchObject({ iterations: 1, skipped: 2, skippedInARow: 2 });
    const second = await start(
      kind,
      spoilt(() => true),
    );
    const sums = second.trainer.train({ ...analysis, steps: [3, 6], totals });
    expect(sums).toMatchObject({
      ...{ iterations: 1, skipped: 5, skippedInARow: 5 },
      samples: totals.samples,
    });
    expect(second.trainer.train({ ...analysis, steps: [0, 1] })).toMatchObject({
      ...{ iterations: 0, skipped: 1, skippedInARow: 6, samples: 0 },
    } satisfies Partial<EpochSums>);
    for (const { trainer } of [first, second]) trainer.dispose();
  });
});

it('every worker of a group of devices publishes its shard of S and A, and rank 0 the rest', async () => {
  const config = { ...testConfig(changes), devices: ['cuda:0', 'cuda:1'] };
  const { graph, store, setups } = groupSetups(config, dataset);
  const trainers = await Promise.all(setups.map((setup) => Trainer.create(setup, resident(engine))));
  const { S, A } = store.accumulators!;
  for (const values of [store.weights, store.velocity, S, A]) values.fill(3);
  // Uploads what the store holds.
  for (const trainer of trainers) trainer.evaluate('test');
  const vectors = [store.weights, store.velocity, S, A];
  const clear = () => {
    for (const values of vectors) values.fill(0);
  };

  clear();
  trainers[1].publish();
  const [start, end] = shardOf(graph.parameterLength, 1, 2);
  const shard = (rank: number) =>
    Float32Array.from(S, (_, i) => ((rank === 1 ? i >= start && i < end : i < start) ? 3 : 0));
  const whole = (value: number) => new Float32Array(graph.parameterLength).fill(value);
  expect(vectors).toEqual([whole(0), whole(0), shard(1), shard(1)]);

  clear();
  trainers[0].publish();
  expect(vectors).toEqual([whole(3), whole(3), shard(0), shard(0)]);
  for (const trainer of trainers) trainer.dispose();
});

it('a run that amplifies nothing has no S and A to publish', async () => {
  const { store, setups } = groupSetups(testConfig({ ...changes, amplification: 'none' }), dataset);
  const trainer = await Trainer.create(setups[0], resident(engine));
  const drawn = store.weights.slice();
  trainer.train({ ...analysis, analysed: false });
  trainer.publish();
  expect(store.accumulators).toBeUndefined();
  expect(store.weights).not.toEqual(drawn);
  trainer.dispose();
});
