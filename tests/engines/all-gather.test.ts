// Batch norms that take their statistics over the passes of several workers, for what the others are said to give: the
// engines' arithmetic against each other, and what happens where gathering fails.

import { beforeAll, describe, expect, test } from 'vitest';
import type { AllGather, Engine, Replica } from '../../src/engines/engine.ts';
import { isBuilt } from '../../src/engines/torch/load.ts';
import { planOf } from '../../src/engines/torch/plan.ts';
import { nativeBatch } from '../../src/engines/torch/replica.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import { batchOf, normalisation, randomParameters, randomSplit, relativeDifference } from './fixtures.ts';
import { describeEngines, loadEngine } from './load.ts';
import { addon } from './torch/fixtures.ts';

const SEED = 11;
const graph = buildModel({ name: 'resnet8', width: 0.5, classes: 10 });
const split = randomSplit(SEED, 6, 10);
const vectors = (Vector: typeof Float32Array | typeof Float64Array) => ({
  parameters: Vector.from(randomParameters(graph, SEED)),
  gradient: new Vector(graph.parameterLength),
  statistics: Vector.from(initialStatistics(graph)),
});

/** A worker that gives as much as this one gives, and another that has seen twice as many values, of another mean. */
const withOthers: AllGather = (own) => {
  const channels = (own.length - 1) / 2;
  const other = own.map((value, i) =>
    i < channels ? 0.5 * value + 0.1 : i < 2 * channels ? 1.5 * value : 2 * value,
  );
  return Float64Array.of(...own, ...own, ...other);
};
const withTwin: AllGather = (own) => Float64Array.of(...own, ...own);
const withIdle: AllGather = (own) => Float64Array.of(...own, ...new Float64Array(own.length));

function pass(engine: Engine, allGather?: AllGather, samples = 6) {
  const own = vectors(Float32Array) as Record<keyof ReturnType<typeof vectors>, Float32Array>;
  const replica: Replica = engine.createReplica({ graph, normalisation, ...own, allGather });
  replica.gradient([batchOf(split, 0, samples)], 6);
  expect(replica.memory().tensors).toBe(0);
  replica.dispose();
  return own;
}

/** By ATen's operations in float64. */
function exactly(allGather?: AllGather) {
  const own = vectors(Float64Array);
  const replica = new addon.Replica({
    ...{ plan: planOf(graph, { fuse: false }), device: 'cpu', ...normalisation, ...own },
    ...{ labelSmoothing: 0, profiled: false, allGather },
  });
  replica.gradient([nativeBatch(batchOf(split))], 6);
  replica.dispose();
  return own;
}

describeEngines(['wasm', 'torch'], 'gathered statistics', (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await loadEngine(name);
  });

  test('of a twin are those of one, but for the variance being of twice as many values', () => {
    const [alone, twin] = [pass(engine), pass(engine, withTwin)];
    expect(relativeDifference(twin.gradient, alone.gradient)).toBeLessThan(1e-6);
    expect(relativeDifference(twin.statistics, alone.statistics)).toBeLessThan(1e-3);
    expect([...twin.statistics]).not.toEqual([...alone.statistics]);
  });

  test('of a worker without samples are those of one', () => {
    const [alone, idle] = [pass(engine), pass(engine, withIdle)];
    expect(relativeDifference(idle.gradient, alone.gradient)).toBeLessThan(1e-6);
    expect(relativeDifference(idle.statistics, alone.statistics)).toBeLessThan(1e-6);
  });

  test.skipIf(!isBuilt())("of others: as ATen's operations in float64 have them", () => {
    const [ours, exact] = [pass(engine, withOthers), exactly(withOthers)];
    expect(relativeDifference(ours.gradient, exact.gradient)).toBeLessThan(1e-5);
    expect(relativeDifference(ours.statistics, exact.statistics)).toBeLessThan(1e-6);
    expect(relativeDifference(ours.gradient, pass(engine).gradient)).toBeGreaterThan(1e-2);
  });

  test('without samples of its own: the gradient is 0, and the running statistics are those of the others', () => {
    const rows: Float64Array[] = [];
    const seen = pass(engine, (own) => {
      rows.push(own.slice());
      return withTwin(own);
    });
    let call = 0;
    const idle = pass(
      engine,
      (own) => {
        expect([...own]).toEqual(Array(own.length).fill(0));
        const other = rows[call++];
        return Float64Array.of(...own, ...other, ...other);
      },
      0,
    );
    expect(call).toBe(rows.length);
    expect(idle.gradient.every((value) => value === 0)).toBe(true);
    expect(relativeDifference(idle.statistics, seen.statistics)).toBeLessThan(1e-6);
  });

  test('what gathering throws arrives as it is, and nothing is left behind', () => {
    const failure = new Error('another worker failed');
    let calls = 0;
    const own = vectors(Float32Array) as Record<keyof ReturnType<typeof vectors>, Float32Array>;
    const replica = engine.createReplica({
      ...{ graph, normalisation, ...own },
      allGather: (numbers) => {
        // In the backward sweep.
        if (++calls === 12) throw failure;
        return withTwin(numbers);
      },
    });
    const attempt = () => replica.gradient([batchOf(split)], 6);
    let thrown: unknown;
    try {
      attempt();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBe(failure);
    expect(replica.memory().tensors).toBe(0);
    attempt();
    replica.dispose();
  });
});

describe.skipIf(!isBuilt())('at the border of the addon', () => {
  const make = (allGather: unknown) => {
    const engine = {
      ...{ plan: planOf(graph, { fuse: true }), device: 'cpu' as const, ...normalisation },
      ...{ ...vectors(Float32Array), labelSmoothing: 0, profiled: false, allGather: allGather as AllGather },
    };
    return new addon.Replica(engine).gradient([nativeBatch(batchOf(split))], 6);
  };

  test.each<[unknown, string]>([
    [7, 'allGather: expected a function, got 7'],
    [() => 7, 'what allGather returns: expected a Float64Array, got 7'],
    [
      (own: Float64Array) => own.subarray(1),
      'what allGather returns: expected 17 numbers of each worker, got 16',
    ],
    [() => new Float64Array(), 'what allGather returns: expected 17 numbers of each worker, got 0'],
  ])('%s is refused', (allGather, message) => {
    expect(() => make(allGather)).toThrow(message);
  });
});
