// The replica whose vectors are the host's: pinned where they lie, and copied without a wait; batch norms over several.

import { beforeAll, describe, expect, it } from 'vitest';
import type { AllGather, Engine } from '../../src/engines/engine.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import {
  batchOf,
  normalisation,
  randomParameters,
  randomSplit,
  relativeDifference,
} from '../engines/fixtures.ts';
import { bits, gpu } from './fixtures.ts';

const SEED = 5;
const split = randomSplit(SEED, 32, 10);
const batch = batchOf(split);

let engine: Engine;
beforeAll(async () => {
  engine = await gpu('float32');
});

/** `skip`: numbers between the start of its memory and that of the vector. */
const shared = (length: number, skip = 0) =>
  new Float32Array(new SharedArrayBuffer(4 * (length + skip)), 4 * skip, length);

function hosted(
  name: 'resnet8' | 'resnet18',
  { allGather, skip = 0, weights }: { allGather?: AllGather; skip?: number; weights?: Float32Array } = {},
) {
  const graph = buildModel({ name, width: 1, classes: 10 });
  const parameters = weights ?? shared(graph.parameterLength, skip);
  if (!weights) parameters.set(randomParameters(graph, SEED));
  const gradient = shared(graph.parameterLength, skip);
  const statistics = shared(graph.statisticsLength, skip);
  statistics.set(initialStatistics(graph));
  const replica = engine.createReplica({
    ...{ graph, normalisation, parameters, gradient, statistics, allGather },
  });
  return { graph, parameters, gradient, statistics, replica };
}

/** The gradient of the same batch by a replica that shares no memory with the host. */
function residentGradient(name: 'resnet8' | 'resnet18') {
  const graph = buildModel({ name, width: 1, classes: 10 });
  const made = engine.createResidentReplica!({
    ...{ graph, normalisation, labelSmoothing: 0, syncBatchNorm: false, capacity: 32 },
    ...{ momentum: 0, nesterov: false, weightDecay: 0, measureWeightDecay: false },
  });
  made.upload('weights', randomParameters(graph, SEED));
  made.upload('statistics', Float32Array.from(initialStatistics(graph)));
  made.step({ passes: [batch], batchSize: 32, learningRate: 0, analysed: false, first: false });
  const [gradient, statistics] = [
    new Float32Array(graph.parameterLength),
    new Float32Array(graph.statisticsLength),
  ];
  made.download('gradient', gradient);
  made.download('statistics', statistics);
  made.dispose();
  return { gradient, statistics };
}

describe('vectors in shared memory', () => {
  // Of less than a page's distance to pages, of many pages, and of one that begins within one.
  it.each([
    ['resnet8', 0],
    ['resnet18', 0],
    ['resnet18', 16],
    ['resnet18', 1023],
  ] as const)('have the bits of those of the device: %s, %d numbers behind a start', (name, skip) => {
    const { gradient, statistics, replica } = hosted(name, { skip });
    const there = residentGradient(name);
    for (let i = 0; i < 3; i++) {
      statistics.set(initialStatistics(buildModel({ name, width: 1, classes: 10 })));
      gradient.fill(Number.NaN);
      replica.gradient([batch], 32);
      expect(bits(gradient).equals(bits(there.gradient))).toBe(true);
      expect(bits(statistics).equals(bits(there.statistics))).toBe(true);
    }
    replica.dispose();
  });

  it('are read in every call', () => {
    const { parameters, gradient, replica } = hosted('resnet18');
    replica.gradient([batch], 32);
    const before = gradient.slice();
    const { lossSum } = replica.evaluate(batch);
    parameters.fill(0.01);
    expect(replica.evaluate(batch).lossSum).not.toBe(lossSum);
    replica.gradient([batch], 32);
    expect(bits(gradient).equals(bits(before))).toBe(false);
    replica.dispose();
  });

  it('serve several replicas, of which one may end before the others', () => {
    const first = hosted('resnet18');
    const others = [1, 2].map(() => hosted('resnet18', { weights: first.parameters }));
    const run = ({ replica, gradient }: typeof first) => {
      replica.gradient([batch], 32);
      return bits(gradient.slice());
    };
    const expected = run(first);
    expect(run(others[0]).equals(expected)).toBe(true);
    first.replica.dispose();
    expect(run(others[0]).equals(expected)).toBe(true);
    others[0].replica.dispose();
    expect(run(others[1]).equals(expected)).toBe(true);
    others[1].replica.dispose();
    // And once more, where they were.
    const again = hosted('resnet18', { weights: first.parameters });
    expect(run(again).equals(expected)).toBe(true);
    again.replica.dispose();
  });

  it('give a gradient of 0 for no pass, in the first call', () => {
    const { gradient, replica } = hosted('resnet8');
    gradient.fill(1);
    expect(replica.gradient([], 32)).toEqual({ lossSum: 0, correct: 0 });
    expect(gradient.every((value) => value === 0)).toBe(true);
    replica.dispose();
  });
});

describe('an exchange of numbers', () => {
  it('with nobody is none, to rounding', () => {
    const [alone, together] = [hosted('resnet8'), hosted('resnet8', { allGather: (own) => own })];
    const [a, b] = [alone, together].map(({ replica }) => replica.gradient([batch], 32));
    expect(Math.abs(b.lossSum / a.lossSum - 1)).toBeLessThan(1e-5);
    expect(relativeDifference(together.gradient, alone.gradient)).toBeLessThan(1e-4);
    expect(relativeDifference(together.statistics, alone.statistics)).toBeLessThan(1e-5);
    for (const { replica } of [alone, together]) replica.dispose();
  });

  it('that fails ends the call with its own error, and the next one is none the worse', () => {
    const failure = new RangeError('nobody came');
    let calls = 0;
    const { gradient, statistics, graph, replica } = hosted('resnet8', {
      allGather(own) {
        if (++calls === 5) throw failure;
        return own;
      },
    });
    const attempt = () => {
      statistics.set(initialStatistics(graph));
      return replica.gradient([batch], 32);
    };
    let thrown: unknown;
    try {
      attempt();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBe(failure);
    expect(replica.memory()).toEqual({ tensors: 0, bytes: 0 });
    const { lossSum } = attempt();
    const first = gradient.slice();
    expect(attempt().lossSum).toBe(lossSum);
    expect(bits(gradient).equals(bits(first))).toBe(true);
    replica.dispose();
  });

  it('that gives no multiple of what it was given is refused', () => {
    const { replica } = hosted('resnet8', { allGather: () => new Float64Array(7) });
    expect(() => replica.gradient([batch], 32)).toThrow(
      /^what allGather returns: expected \d+ numbers of each worker, got 7$/,
    );
    replica.dispose();
  });
});
