import { describe, expect, it } from 'vitest';
import type { Node } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import { firstNonFinite } from '../../src/training/non-finite.ts';
import { tensorsOf } from '../../src/training/update.ts';

const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });

function sound() {
  const vector = () => new Float32Array(graph.parameterLength);
  return {
    ...{ weights: vector(), gradient: vector(), statistics: Float32Array.from(initialStatistics(graph)) },
    lossSum: 1,
  };
}

const tensor = (name: string) => tensorsOf(graph).find((each) => each.name === name)!;
const last = ({ offset, size }: { offset: number; size: number }) => offset + size - 1;
const norm = (name: string) =>
  graph.nodes.find((node) => node.name === name) as Extract<Node, { op: 'batchNorm' }>;

describe('what went first is', () => {
  it('nothing where all is finite, or the rest is not known', () => {
    expect(firstNonFinite(graph, sound())).toBeUndefined();
    const { weights, gradient } = sound();
    expect(firstNonFinite(graph, { weights, gradient })).toBeUndefined();
  });

  it('the first weight tensor in the order of the graph, before anything else', () => {
    const numbers = { ...sound(), lossSum: Number.NaN };
    numbers.gradient.fill(Number.NaN);
    numbers.statistics.fill(Number.NaN);
    numbers.weights[tensor('linear.bias').offset] = Number.NaN;
    expect(firstNonFinite(graph, numbers)).toBe('weights linear.bias');
    numbers.weights[last(tensor('bn1.weight'))] = Number.NEGATIVE_INFINITY;
    expect(firstNonFinite(graph, numbers)).toBe('weights bn1.weight');
  });

  it('the activations at the first batch norm whose mean or variance is not finite', () => {
    const numbers = { ...sound(), lossSum: Number.NaN };
    numbers.gradient.fill(Number.NaN);
    const [first, second] = [norm('layer1.0.bn1'), norm('layer1.0.bn2')];
    numbers.statistics[second.statisticsOffset] = Number.NaN;
    expect(firstNonFinite(graph, numbers)).toBe('activations at layer layer1.0.bn2');
    // The last of its variances.
    numbers.statistics[first.statisticsOffset + 2 * first.shape[2] - 1] = Number.POSITIVE_INFINITY;
    expect(firstNonFinite(graph, numbers)).toBe('activations at layer layer1.0.bn1');
  });

  it('the loss, where what comes in front of it is finite', () => {
    const numbers = { ...sound(), lossSum: Number.POSITIVE_INFINITY };
    numbers.gradient.fill(Number.NaN);
    expect(firstNonFinite(graph, numbers)).toBe('the loss');
  });

  it('the gradient of the layer nearest to the loss', () => {
    const numbers = sound();
    numbers.gradient[tensor('conv1.weight').offset] = Number.NaN;
    expect(firstNonFinite(graph, numbers)).toBe('gradient of layer conv1');
    numbers.gradient[last(tensor('layer2.0.bn1.bias'))] = Number.POSITIVE_INFINITY;
    expect(firstNonFinite(graph, numbers)).toBe('gradient of layer layer2.0.bn1');
    numbers.gradient[last(tensor('linear.bias'))] = Number.NaN;
    expect(firstNonFinite(graph, numbers)).toBe('gradient of layer linear');
  });
});
