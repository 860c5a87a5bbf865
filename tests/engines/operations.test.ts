// Every operation of the graph, forward and backward, on all engines: against a float64 reference and its finite
// differences, and against each other.

import { beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import type { Graph } from '../../src/models/graph.ts';
import { draw, Stream } from '../../src/random.ts';
import { batchOf, normalisedImages, randomSplit, relativeDifference, setUp } from './fixtures.ts';
import { describeTorch, loadEngine, type TestedEngine } from './load.ts';
import { CLASSES, cases, wideCases } from './operation-graphs.ts';
import { differenceQuotient, referencePass } from './reference.ts';

const SAMPLES = 3;
/** Coordinates of each parameter tensor whose gradient is checked against a difference quotient. */
const COORDINATES = 8;

const engines = new Map<TestedEngine, Engine>();

beforeAll(async () => {
  for (const name of ['wasm', 'cpu'] as const) engines.set(name, await loadEngine(name));
});

const SEED = 11;

function run(name: TestedEngine, graph: Graph) {
  const split = randomSplit(SEED, SAMPLES, CLASSES);
  const setup = setUp(engines.get(name)!, graph, SEED);
  return { ...setup, result: setup.replica.gradient([batchOf(split)], SAMPLES) };
}

describe.each(Object.entries(cases))('%s', (_, graph) => {
  const split = randomSplit(SEED, SAMPLES, CLASSES);
  const images = normalisedImages(split);

  test(`agrees with the float64 reference and between backends, seed ${SEED}`, () => {
    const [wasm, cpu] = [run('wasm', graph), run('cpu', graph)];
    const parameters = Float64Array.from(wasm.parameters);
    const expected = referencePass(graph, parameters, images, split.labels);
    for (const { result } of [wasm, cpu]) {
      expect(Math.abs(result.lossSum / SAMPLES / expected.loss - 1)).toBeLessThan(1e-6);
      expect(result.correct).toBe(expected.correct);
    }
    expect(relativeDifference(wasm.gradient, cpu.gradient)).toBeLessThan(1e-5);

    // By layer, since the gradient of a bias that a batch norm follows is 0.
    for (const { name, parameters: tensors } of graph.layers) {
      const indices = tensors.flatMap(({ offset, size }) =>
        Array.from(
          { length: COORDINATES },
          (_unused, i) => offset + (draw(SEED, Stream.synthetic, offset, i)[0] % size),
        ),
      );
      const quotients = indices.map((index) =>
        differenceQuotient(graph, parameters, index, images, split.labels),
      );
      for (const { gradient } of [wasm, cpu]) {
        const computed = indices.map((index) => gradient[index]);
        expect(relativeDifference(computed, quotients), name).toBeLessThan(1e-4);
      }
    }
  });
});

describeTorch('on torch', () => {
  beforeAll(async () => {
    engines.set('torch', await loadEngine('torch'));
  });

  test.each(Object.entries({ ...cases, ...wideCases }))(
    `%s agrees with the cpu backend, seed ${SEED}`,
    (_, graph) => {
      const [torch, cpu] = [run('torch', graph), run('cpu', graph)];
      expect(Math.abs(torch.result.lossSum / cpu.result.lossSum - 1)).toBeLessThan(1e-6);
      expect(torch.result.correct).toBe(cpu.result.correct);
      expect(relativeDifference(torch.gradient, cpu.gradient)).toBeLessThan(1e-5);
      expect(relativeDifference(torch.statistics, cpu.statistics)).toBeLessThan(1e-6);
    },
  );
});
