// Amplification inside the reverse sweep: what arrives at a layer's output is multiplied. Held against finite differences
// of a function whose value is the same and whose slope behind that layer is not.

import { beforeAll, expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { type Graph, GraphBuilder } from '../../src/models/graph.ts';
import { batchOf, normalisedImages, randomSplit, setUp } from './fixtures.ts';
import { describeEngines, loadEngine } from './load.ts';
import { differenceQuotient, referencePass, type Transform } from './reference.ts';

const FACTOR = 3;
const SAMPLES = 3;
const CLASSES = 5;
const SEED = 5;
const SPLIT_SEED = 21;

const chain = (() => {
  const g = new GraphBuilder('chain');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 4 });
  const a = g.relu(g.conv2d('a', x, { filters: 6, kernel: 3, padding: 1, bias: true }));
  const b = g.relu(g.batchNorm('b', g.conv2d('conv', a, { filters: 6, kernel: 3, padding: 1 })));
  return g.build(g.linear('c', g.flatten(g.averagePool(b, { kernel: 8 })), { features: CLASSES }));
})();

const residual = (() => {
  const g = new GraphBuilder('residual');
  const x = g.averagePool(g.input([32, 32, 3]), { kernel: 4 });
  const a = g.conv2d('a', x, { filters: 6, kernel: 3, padding: 1 });
  const b = g.conv2d('b', g.relu(a), { filters: 6, kernel: 3, padding: 1 });
  const sum = g.relu(g.add(b, a));
  return g.build(g.linear('c', g.flatten(g.averagePool(sum, { kernel: 8 })), { features: CLASSES }));
})();

const split = randomSplit(SPLIT_SEED, SAMPLES, CLASSES);

/** The gradient of each layer's tensors, with and without amplification. */
function gradients(engine: Engine, graph: Graph, amplified: string[]) {
  const { replica, parameters, gradient } = setUp(engine, graph, SEED);
  replica.gradient([batchOf(split)], SAMPLES);
  const plain = gradient.slice();
  replica.gradient([batchOf(split)], SAMPLES, new Map(amplified.map((name) => [name, FACTOR])));
  return { parameters, plain, amplified: gradient.slice() };
}

/** Near the given parameters the output of these layers moves FACTOR times as far; there it is the same. */
function steeper(graph: Graph, parameters: Float32Array, layers: string[]): Transform {
  const base = new Map<number, Float64Array>();
  referencePass(graph, parameters, normalisedImages(split), split.labels, (node, output) => {
    base.set(node.index, output.slice());
    return output;
  });
  return ({ index, layer }, output) => {
    if (!layer || !layers.includes(layer.name)) return output;
    const centre = base.get(index)!;
    return output.map((value, i) => centre[i] + FACTOR * (value - centre[i]));
  };
}

describeEngines(['wasm', 'cpu', 'torch'], `seeds ${SEED} and ${SPLIT_SEED}`, (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await loadEngine(name);
  });

  test('in a chain the layer and all before it are scaled, all behind it are not', () => {
    const { plain, amplified } = gradients(engine, chain, ['b']);
    const ratios = chain.layers.map(({ name, parameters: [{ offset, size }] }) => {
      const largest = plain
        .subarray(offset, offset + size)
        .reduce((m, g, i, all) => (Math.abs(g) > Math.abs(all[m]) ? i : m), 0);
      return [name, Number((amplified[offset + largest] / plain[offset + largest]).toFixed(4))];
    });
    expect(ratios).toEqual([
      ['a', FACTOR],
      ['conv', FACTOR],
      ['b', FACTOR],
      ['c', 1],
    ]);
  });

  test('two chosen layers in a chain scale what lies before both by the square', () => {
    const { plain, amplified } = gradients(engine, chain, ['conv', 'c']);
    const { offset } = chain.layers[0].parameters[0];
    expect(amplified[offset] / plain[offset]).toBeCloseTo(FACTOR ** 2, 3);
  });

  test.each([
    ['a chain', chain, ['b']],
    ['a chain, two layers', chain, ['conv', 'c']],
    ['a residual block, whose shortcut stays as it is', residual, ['b']],
  ])('equals finite differences in %s', (_, graph, layers) => {
    const { parameters, amplified } = gradients(engine, graph, layers);
    const transform = steeper(graph, parameters, layers);
    const [values, images] = [Float64Array.from(parameters), normalisedImages(split)];
    for (const { parameters: tensors } of graph.layers) {
      for (const { name, offset, size } of tensors) {
        for (const i of [0, Math.floor(size / 2), size - 1]) {
          const expected = differenceQuotient(graph, values, offset + i, images, split.labels, transform);
          expect(Math.abs(amplified[offset + i] - expected), `${name}[${i}]`).toBeLessThan(
            1e-4 * (1 + Math.abs(expected)),
          );
        }
      }
    }
  });

  test('in a residual block the gradient before it is that of the shortcut plus the scaled one of the branch', () => {
    const { plain, amplified } = gradients(engine, residual, ['b']);
    const { offset, size } = residual.layers[0].parameters[0];
    const ratios = Array.from({ length: size }, (_, i) => amplified[offset + i] / plain[offset + i]);
    expect(ratios.some((ratio) => Math.abs(ratio - 1) > 0.01 && Math.abs(ratio - FACTOR) > 0.01)).toBe(true);
  });
});
