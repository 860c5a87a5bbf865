// What a replica promises beside the gradient itself: sums, statistics, evaluation, memory, and errors at its border.

import { beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { GraphBuilder } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import {
  batchOf,
  normalisation,
  normalisedImages,
  randomSplit,
  relativeDifference,
  setUp,
} from './fixtures.ts';
import { describeEngines, loadEngine } from './load.ts';
import { referencePass } from './reference.ts';

const SEED = 5;
const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });

/** One convolution and batch norm over a 2x2 map, or a 1x1 map. */
function singleBatchNorm(size: 1 | 2) {
  const g = new GraphBuilder('single');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 32 / size });
  const y = g.batchNorm('bn', g.conv2d('conv', x, { filters: 4, kernel: 1, bias: true }));
  const end = size === 1 ? y : g.averagePool(y, { kernel: 2 });
  return g.build(g.linear('linear', g.flatten(end), { features: 3 }));
}

function convolutionAndRelu({ maxPool }: { maxPool: boolean }) {
  const g = new GraphBuilder('plain');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 8 });
  const y = g.conv2d('conv', x, { filters: 4, kernel: 3, padding: 1, bias: true });
  const z = g.relu(maxPool ? g.maxPool(y, { kernel: 2 }) : y);
  const flat = g.flatten(g.averagePool(z, { kernel: z.shape[0] }));
  return g.build(g.linear('linear', flat, { features: 3 }));
}

describeEngines(['wasm', 'torch'], 'a replica', (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await loadEngine(name);
  });

  describe(`passes, seed ${SEED}`, () => {
    test('several passes sum up to the mean over the batch', () => {
      const split = randomSplit(SEED, 10, 10);
      const alone = [batchOf(split, 0, 6), batchOf(split, 6, 4)].map((batch) => {
        const { replica, gradient } = setUp(engine, graph, SEED);
        return { ...replica.gradient([batch], 10), gradient };
      });
      const { replica, gradient } = setUp(engine, graph, SEED);
      const together = replica.gradient([batchOf(split, 0, 6), batchOf(split, 6, 4)], 10);
      const sum = alone[0].gradient.map((value, i) => value + alone[1].gradient[i]);
      expect(relativeDifference(gradient, sum)).toBeLessThan(1e-6);
      expect(together.lossSum).toBeCloseTo(alone[0].lossSum + alone[1].lossSum, 6);
      expect(together.correct).toBe(alone[0].correct + alone[1].correct);
    });

    test('a share of the batch weighs by its size', () => {
      const batch = batchOf(randomSplit(SEED, 4, 10));
      const [whole, quarter] = [4, 16].map((batchSize) => {
        const { replica, gradient } = setUp(engine, graph, SEED);
        replica.gradient([batch], batchSize);
        return gradient;
      });
      expect(
        relativeDifference(
          quarter.map((value) => 4 * value),
          whole,
        ),
      ).toBeLessThan(1e-5);
    });

    test('no passes, and passes without samples, give a gradient of 0 and leave the statistics alone', () => {
      const { replica, gradient, statistics } = setUp(engine, graph, SEED);
      gradient.fill(7);
      const empty = batchOf(randomSplit(SEED, 4, 10), 0, 0);
      for (const passes of [[], [empty]]) {
        expect(replica.gradient(passes, 8)).toEqual({ lossSum: 0, correct: 0 });
        expect(gradient.every((value) => value === 0)).toBe(true);
      }
      expect(replica.evaluate(empty)).toEqual({ lossSum: 0, correct: 0, predictions: new Int32Array() });
      expect(statistics).toEqual(initialStatistics(graph));
    });

    test('the same call gives the same numbers', () => {
      const batch = batchOf(randomSplit(SEED, 6, 10));
      const { replica, gradient } = setUp(engine, graph, SEED);
      replica.gradient([batch], 6);
      const first = gradient.slice();
      replica.gradient([batch], 6);
      expect(gradient.slice()).toEqual(first);
    });

    test('padding stays 0', () => {
      const { replica, gradient } = setUp(engine, graph, SEED);
      replica.gradient([batchOf(randomSplit(SEED, 4, 10))], 4);
      const used = new Set<number>();
      for (const { offset, size } of graph.layers.flatMap(({ parameters }) => parameters)) {
        for (let i = offset; i < offset + size; i++) used.add(i);
      }
      const padding = gradient.filter((_, i) => !used.has(i));
      expect(padding.length).toBe(graph.parameterLength - graph.parameterCount);
      expect(padding.every((value) => value === 0)).toBe(true);
    });
  });

  describe(`batch norm, seed ${SEED}`, () => {
    test.each([
      ['of several values, with the unbiased variance', singleBatchNorm(2), 5],
      ['of one value, with the biased variance', singleBatchNorm(1), 1],
    ])('updates the running statistics %s', (_, single, samples) => {
      const split = randomSplit(SEED, samples, 3);
      const { replica, parameters, statistics } = setUp(engine, single, SEED);
      const before = statistics.slice();
      replica.gradient([batchOf(split)], samples);
      const pass = referencePass(single, parameters, normalisedImages(split), split.labels);
      const [{ mean, variance, count }] = pass.statistics.values();
      const unbiased = count === 1 ? 1 : count / (count - 1);
      const expected = [...mean, ...variance.map((value) => value * unbiased)];
      for (const [i, value] of expected.entries()) {
        expect(statistics[i]).toBeCloseTo(0.9 * before[i] + 0.1 * value, 6);
      }
    });

    test('its variance survives a mean that is 1000 times the deviation', () => {
      const single = singleBatchNorm(2);
      const split = randomSplit(SEED, 8, 3);
      const { replica, parameters, statistics } = setUp(engine, single, SEED);
      const [conv] = single.layers;
      parameters.fill(300, conv.parameters[1].offset, conv.parameters[1].offset + conv.parameters[1].size);
      replica.gradient([batchOf(split)], 8);
      const pass = referencePass(single, parameters, normalisedImages(split), split.labels);
      const [{ variance, count }] = pass.statistics.values();
      for (const [c, value] of variance.entries()) {
        const running = (statistics[4 + c] - 0.9) / 0.1;
        // What rounding of the values themselves to float32 leaves.
        expect(Math.abs((running * (count - 1)) / count - value)).toBeLessThan(1e-4 * value + 1e-5);
      }
    });

    test('evaluation with the statistics of a pass gives the loss of that pass', () => {
      const samples = 6;
      const split = randomSplit(SEED, samples, 10);
      const { replica, parameters, statistics } = setUp(engine, graph, SEED);
      const training = replica.gradient([batchOf(split)], samples);
      const pass = referencePass(graph, parameters, normalisedImages(split), split.labels);
      for (const node of graph.nodes) {
        if (node.op !== 'batchNorm') continue;
        const { mean, variance } = pass.statistics.get(node.index)!;
        statistics.set([...mean, ...variance], node.statisticsOffset);
      }
      const evaluated = replica.evaluate(batchOf(split));
      expect(evaluated.lossSum / training.lossSum).toBeCloseTo(1, 5);
      expect(evaluated.correct).toBe(training.correct);
      const right = evaluated.predictions.filter((prediction, sample) => prediction === split.labels[sample]);
      expect([evaluated.predictions.length, right.length]).toEqual([samples, training.correct]);
    });

    test('evaluation changes neither gradient nor statistics', () => {
      const { replica, gradient, statistics } = setUp(engine, graph, SEED);
      gradient.fill(3);
      const before = statistics.slice();
      replica.evaluate(batchOf(randomSplit(SEED, 4, 10)));
      expect(gradient.every((value) => value === 3)).toBe(true);
      expect(statistics.slice()).toEqual(before);
    });
  });

  describe('the border', () => {
    test('vectors of the wrong length are refused', () => {
      const options = {
        graph,
        normalisation,
        parameters: new Float32Array(3),
        gradient: new Float32Array(3),
      };
      expect(() => engine.createReplica({ ...options, statistics: new Float32Array(0) })).toThrow(
        `resnet8: expected ${graph.parameterLength} parameters, got 3`,
      );
    });

    test('a graph for images of another size is refused', () => {
      const g = new GraphBuilder('large');
      const pooled = g.flatten(g.averagePool(g.input([64, 64, 3]), { kernel: 64 }));
      const large = g.build(g.linear('linear', pooled, { features: 2 }));
      expect(() => setUp(engine, large, SEED)).toThrow(
        'large: expected an input of shape [32,32,3], got [64,64,3]',
      );
    });
  });
});

describeEngines(['wasm', 'cpu', 'torch'], `memory, seed ${SEED}`, (name) => {
  test('no tensor outlives a call', async () => {
    const { replica } = setUp(await loadEngine(name), singleBatchNorm(2), SEED);
    const batch = batchOf(randomSplit(SEED, 4, 3));
    const before = replica.memory();
    for (let step = 0; step < 5; step++) {
      replica.gradient([batch, batch], 8);
      replica.evaluate(batch);
      expect(replica.memory()).toEqual(before);
    }
  });

  test('a value that is not finite flows into the gradient, and frees its tensors', async () => {
    const loaded = await loadEngine(name);
    const graphs = [
      singleBatchNorm(2),
      convolutionAndRelu({ maxPool: false }),
      convolutionAndRelu({ maxPool: true }),
    ];
    for (const poisoned of graphs) {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const { replica, parameters, gradient } = setUp(loaded, poisoned, SEED);
        const before = replica.memory();
        const [first] = poisoned.layers;
        const { offset, size } = first.parameters[0];
        parameters.fill(value, offset, offset + size);
        const { lossSum, correct } = replica.gradient([batchOf(randomSplit(SEED, 4, 3))], 4);
        expect(lossSum).toBeNaN();
        expect(correct).toBe(0);
        expect(gradient.subarray(offset, offset + size).some(Number.isNaN)).toBe(true);
        expect(replica.memory()).toEqual(before);
      }
    }
  });
});
