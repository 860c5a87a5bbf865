// The replica that lives on a GPU, by itself: the bits of its update, its memory over many steps, groups, its border.

import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine, ResidentOptions, ResidentReplica } from '../../src/engines/engine.ts';
import type { Graph } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import { tensorsOf } from '../../src/training/update.ts';
import {
  batchOf,
  normalisation,
  randomParameters,
  randomSplit,
  relativeDifference,
} from '../engines/fixtures.ts';
import { addon, bits, device, gpu } from './fixtures.ts';

const SEED = 7;
const graph = buildModel({ name: 'resnet8', width: 1, classes: 10 });
const split = randomSplit(SEED, 64, 10);
const sgd = { momentum: 0.9, nesterov: true, weightDecay: 5e-4, measureWeightDecay: false };
const factorsOf = (model: Graph) =>
  tensorsOf(model).map((_, i) => ({ gradient: i % 3 === 0 ? 2 : 1, rate: i % 5 === 0 ? 0.5 : 1 }));
const factors = factorsOf(graph);

let engine: Engine;
beforeAll(async () => {
  engine = await gpu('float32');
});

function replica(changes: Partial<ResidentOptions> = {}, model = graph): ResidentReplica {
  const made = engine.createResidentReplica!({
    ...{ graph: model, normalisation, labelSmoothing: 0, syncBatchNorm: false },
    ...{ capacity: 64, shard: [0, model.parameterLength] },
    ...{ ...sgd, ...changes },
  });
  made.upload('weights', randomParameters(model, SEED));
  made.upload('statistics', Float32Array.from(initialStatistics(model)));
  made.begin(factorsOf(model));
  return made;
}

const step = (first: boolean) => ({
  ...{ passes: [batchOf(split)], batchSize: 64, learningRate: 0.05 },
  ...{ analysed: true, first },
});
const memory = () => addon.deviceMemory!(Number(device.slice('cuda:'.length)));
const vector = () => new Float32Array(graph.parameterLength);

describe('the update', () => {
  it('has the bits of the native one on processors, given the same gradient', () => {
    const made = replica();
    const [weights, velocity, S, A] = [randomParameters(graph, SEED), vector(), vector(), vector()];
    for (let i = 0; i < 3; i++) {
      made.step(step(i === 0));
      const gradient = vector();
      made.download('gradient', gradient);
      const runs = tensorsOf(graph).flatMap(({ offset, size }, tensor) => [
        ...[offset, offset + size, factors[tensor].gradient, sgd.weightDecay, 0.05 * factors[tensor].rate],
      ]);
      addon.update({
        ...{ weights, velocity, gradients: [gradient], S, A, runs: Float64Array.from(runs) },
        ...{ momentum: sgd.momentum, nesterov: sgd.nesterov, measuredDecay: 0 },
      });
    }
    const [theirs, theirVelocity] = [vector(), vector()];
    made.download('weights', theirs);
    made.download('velocity', theirVelocity);
    expect(bits(theirs).equals(bits(weights))).toBe(true);
    expect(bits(theirVelocity).equals(bits(velocity))).toBe(true);
    const sums = made.measure();
    for (const [tensor, { offset, size }] of tensorsOf(graph).entries()) {
      const range = [...S.subarray(offset, offset + size)];
      const net = range.reduce((sum, value) => sum + Math.abs(value), 0);
      const total = A.subarray(offset, offset + size).reduce((sum, value) => sum + value, 0);
      const ratio = range.reduce((sum, value, i) => sum + Math.abs(value) / (A[offset + i] || 1), 0);
      expect(sums[tensor].netSum).toBeCloseTo(net, 6);
      expect(sums[tensor].totalSum / total).toBeCloseTo(1, 5);
      expect(sums[tensor].ratioSum / ratio).toBeCloseTo(1, 9);
      expect(sums[tensor].alive).toBe(A.subarray(offset, offset + size).filter((a) => a > 0).length);
    }
    made.dispose();
  });
});

describe('a group of one', () => {
  /** Weights behind each of some steps: the first two run as they are, the third is recorded, the others are replays. */
  function weightsOf(made: ResidentReplica, length: number, steps = 5, passes = [batchOf(split)]): Buffer[] {
    return Array.from({ length: steps }, (_, i) => {
      made.step({ ...step(i === 0), passes });
      const weights = new Float32Array(length);
      made.download('weights', weights);
      return bits(weights);
    });
  }

  // One slice, and six. A sum over one is what was there: slices that were sent too early, twice or never would pass. When
  // they may be sent is for emulation/check_completion.cpp, which they are for slices.test.ts, both of tests/engines/torch.
  it.each(['resnet8', 'resnet18'] as const)(
    'launches collectives beside the sweep, records and replays them, and no bit changes: %s',
    (name) => {
      const model = buildModel({ name, width: 1, classes: 10 });
      const [alone, member] = [replica({}, model), replica({}, model)];
      let met = 0;
      member.join(engine.makeGroupId!(), 0, 1, () => met++);
      const [theirs, ours] = [alone, member].map((made) => weightsOf(made, model.parameterLength));
      for (const [i, weights] of ours.entries())
        expect(weights.equals(theirs[i]), `step ${i + 1}`).toBe(true);
      expect(member.warning).toBeUndefined();
      // Behind the rehearsal, behind the recording, and before the first replay.
      expect(met).toBe(3);
      for (const each of [alone, member]) each.dispose();
    },
  );

  it('rehearses a step without effect on weights, momentum and running statistics', () => {
    const member = replica();
    const [weights, velocity] = [vector(), vector()];
    const statistics = new Float32Array(graph.statisticsLength);
    let met = 0;
    member.join(engine.makeGroupId!(), 0, 1, () => {
      if (met++ > 0) return;
      member.download('weights', weights);
      member.download('velocity', velocity);
      member.download('statistics', statistics);
    });
    member.step(step(true));
    expect(bits(weights).equals(bits(randomParameters(graph, SEED)))).toBe(true);
    expect(velocity.every((value) => value === 0)).toBe(true);
    expect([...statistics]).toEqual([...initialStatistics(graph)]);
    member.dispose();
  });

  it('takes steps with an empty pass, and with none, as without them', () => {
    const passes = [batchOf(split, 0, 40), batchOf(split, 0, 0), batchOf(split, 40, 24)];
    const [theirs, ours, last] = [[passes[0], passes[2]], passes, [passes[0], passes[2], passes[1]]].map(
      (each) => {
        const made = replica();
        made.join(engine.makeGroupId!(), 0, 1, () => {});
        const weights = weightsOf(made, graph.parameterLength, 4, each);
        made.dispose();
        return weights;
      },
    );
    expect(ours).toEqual(theirs);
    expect(last).toEqual(theirs);
    const [nothing, empty] = [[], [passes[1]]].map((each) => {
      const made = replica();
      made.join(engine.makeGroupId!(), 0, 1, () => {});
      const weights = weightsOf(made, graph.parameterLength, 4, each);
      made.dispose();
      return weights;
    });
    expect(empty).toEqual(nothing);
  });

  it('takes the statistics of its batch norms over the group, which is itself, to rounding', () => {
    const [alone, before, member] = [false, true, true].map((syncBatchNorm) => replica({ syncBatchNorm }));
    member.join(engine.makeGroupId!(), 0, 1, () => {});
    const all = [alone, before, member].map((made) => {
      for (let i = 0; i < 5; i++) made.step(step(i === 0));
      const [weights, statistics] = [vector(), new Float32Array(graph.statisticsLength)];
      made.download('weights', weights);
      made.download('statistics', statistics);
      expect(made.warning).toBeUndefined();
      made.dispose();
      return { weights, statistics };
    });
    for (const { weights, statistics } of all.slice(1)) {
      expect(relativeDifference(weights, all[0].weights)).toBeLessThan(1e-4);
      expect(relativeDifference(statistics, all[0].statistics)).toBeLessThan(1e-4);
    }
    expect(bits(all[2].weights).equals(bits(all[1].weights))).toBe(true);
  });

  it('is left in the middle of steps, with graphs of collectives', () => {
    const member = replica({ syncBatchNorm: true });
    member.join(engine.makeGroupId!(), 0, 1, () => {});
    for (let i = 0; i < 5; i++) member.step(step(i === 0));
    member.abandon!();
    expect(() => member.step({ ...step(false), batchSize: 63 })).toThrow(
      'expected a group that was not left',
    );
    member.dispose();
  });
});

describe('S, A and totals', () => {
  const shard = [64, 1024] as const;
  const names = ['weights', 'velocity', 'statistics', 'S', 'A'] as const;
  const empty = (name: (typeof names)[number]) =>
    new Float32Array(name === 'statistics' ? graph.statisticsLength : graph.parameterLength);

  it('are what was written, S and A in the length of the shard', () => {
    const made = replica({ shard });
    const values = randomParameters(graph, SEED + 1).slice(0, shard[1] - shard[0]);
    const negative = values.map((value) => -value);
    made.upload('S', values);
    made.upload('A', negative);
    const [S, A] = [new Float32Array(values.length), new Float32Array(values.length)];
    made.download('S', S);
    made.download('A', A);
    expect(bits(S).equals(bits(values))).toBe(true);
    expect(bits(A).equals(bits(negative))).toBe(true);
    const totals = { lossSum: 0.1, correct: 7, samples: 64, iterations: 2, skipped: 3, skippedInARow: 1 };
    made.begin(factors, undefined, totals);
    expect(made.totals()).toMatchObject(totals);
    // Those of a step that was not launched, too.
    expect(made.step(step(true))).toMatchObject(totals);
    made.dispose();
  });

  it('are gone on with by another replica, with the bits of one that was not interrupted', () => {
    const play = (interrupted: boolean) => {
      let made = replica();
      for (let i = 0; i < 6; i++) {
        if (interrupted && i === 3) {
          const totals = made.totals();
          const next = replica();
          for (const name of names) {
            const values = empty(name);
            made.download(name, values);
            next.upload(name, values);
          }
          next.begin(factors, undefined, totals);
          made.dispose();
          made = next;
        }
        made.step(step(i === 0));
      }
      const vectors = names.map((name) => {
        const values = empty(name);
        made.download(name, values);
        return bits(values);
      });
      const { waitedMilliseconds, ...totals } = made.totals();
      made.dispose();
      return { vectors, totals };
    };
    const [whole, continued] = [play(false), play(true)];
    expect(continued.totals).toEqual(whole.totals);
    expect(whole.totals.iterations).toBe(6);
    for (const [i, name] of names.entries())
      expect(continued.vectors[i].equals(whole.vectors[i]), name).toBe(true);
  });

  it('are refused where they do not fit', () => {
    const made = replica({ shard });
    expect(() => made.upload('S', vector())).toThrow(/^values: expected 960 numbers, got \d+$/);
    expect(() => made.begin(factors, undefined, {} as never)).toThrow(/^totals\.lossSum: expected a number/);
    made.dispose();
    const without = replica({ shard: undefined });
    expect(() => without.download('A', vector())).toThrow(
      'vector: expected weights, velocity or statistics of a replica that keeps no S and A, got A',
    );
    without.dispose();
  });
});

describe('memory', () => {
  it('does not grow over 1,000 steps', () => {
    const made = replica();
    for (let i = 0; i < 20; i++) made.step(step(i === 0));
    made.totals();
    const before = memory();
    for (let i = 0; i < 1000; i++) made.step(step(false));
    const { iterations } = made.totals();
    expect(iterations).toBe(1020);
    const after = memory();
    expect(after.allocated).toBe(before.allocated);
    expect(after.reserved).toBe(before.reserved);
    made.dispose();
  });

  it('is given back by a replica that is disposed of', () => {
    const free = () => memory().allocated;
    const first = replica();
    first.dispose();
    const before = free();
    for (let i = 0; i < 5; i++) {
      const made = replica();
      for (let j = 0; j < 5; j++) made.step(step(j === 0));
      made.dispose();
    }
    expect(free()).toBe(before);
  });
});

describe('its border', () => {
  it('names what does not fit', () => {
    const made = replica();
    expect(() => made.upload('weights', new Float32Array(3))).toThrow(
      /^values: expected \d+ numbers, got 3$/,
    );
    expect(() => made.step({ ...step(true), passes: [batchOf(split), batchOf(split)] })).toThrow(
      'passes: expected at most 64 samples, got 128',
    );
    made.dispose();
    expect(() => made.totals()).toThrow('expected a replica that is in use, got one that was disposed of');
  });

  it('skips a step whose numbers are not finite, and leaves everything as it was; S and A start from 0 all the same', () => {
    const made = replica();
    for (let i = 0; i < 4; i++) made.step(step(i === 0));
    const vectors = () => {
      const all = [vector(), vector(), new Float32Array(graph.statisticsLength)];
      made.download('weights', all[0]);
      made.download('velocity', all[1]);
      made.download('statistics', all[2]);
      return all;
    };
    const before = vectors();
    expect(made.measure().some(({ totalSum }) => totalSum > 0)).toBe(true);
    const [weights] = before;
    made.upload(
      'weights',
      weights.map((weight, i) => (i === 5 ? Number.NaN : weight)),
    );
    made.step(step(true));
    made.upload('weights', weights);
    const after = vectors();
    for (const [i, each] of after.entries()) expect(bits(each).equals(bits(before[i]))).toBe(true);
    expect(made.totals().skipped).toBe(1);
    expect(made.totals().skippedInARow).toBe(1);
    expect(made.measure().every(({ totalSum, alive }) => totalSum === 0 && alive === 0)).toBe(true);
    made.step(step(false));
    expect(made.totals()).toMatchObject({ skipped: 1, skippedInARow: 0, iterations: 5 });
    made.dispose();
  });

  it('counts totals since begin, of this worker alone', () => {
    const made = replica();
    for (let i = 0; i < 4; i++) made.step(step(i === 0));
    const totals = made.totals();
    expect([totals.iterations, totals.samples, totals.skipped]).toEqual([4, 256, 0]);
    expect(totals.lossSum / totals.samples).toBeGreaterThan(0.1);
    made.begin(factors);
    expect(made.totals().samples).toBe(0);
    made.dispose();
  });
});
