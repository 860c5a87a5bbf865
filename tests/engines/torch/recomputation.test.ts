// What is computed again in the backward sweep is what was there: however much of it is kept, the bits are the same.

import { describe, expect } from 'vitest';
import type { ModelName } from '../../../src/config/schema.ts';
import { planOf } from '../../../src/engines/torch/plan.ts';
import { nativeBatch } from '../../../src/engines/torch/replica.ts';
import { buildModel } from '../../../src/models/index.ts';
import { initialStatistics } from '../../../src/models/initialise.ts';
import { batchOf, normalisation, randomParameters, randomSplit } from '../fixtures.ts';
import { addon, it } from './fixtures.ts';

const SEED = 3;
const split = randomSplit(SEED, 4, 10);

function gradient(name: ModelName, kept: number) {
  const graph = buildModel({ name, width: 0.125, classes: 10 });
  const vectors = {
    parameters: randomParameters(graph, SEED),
    gradient: new Float32Array(graph.parameterLength),
    statistics: Float32Array.from(initialStatistics(graph)),
  };
  const plan = planOf(graph, { fuse: true, kept });
  const replica = new addon.Replica({
    ...{ plan, device: 'cpu', ...normalisation, ...vectors },
    ...{ labelSmoothing: 0, profiled: false },
  });
  replica.gradient([nativeBatch(batchOf(split))], split.size);
  expect(replica.memory()).toEqual({ tensors: 0, bytes: 0 });
  replica.dispose();
  return { ...vectors, recomputed: plan.steps.filter(({ recomputed }) => recomputed).length };
}

describe.each<ModelName>(['resnet8', 'resnet18', 'resnet50', 'vgg19'])('%s', (name) => {
  it('has the same gradient and statistics with all kept, some of it, and nothing', () => {
    const all = gradient(name, 1);
    const counts = [0.9, 0.7, 0].map((share) => {
      const some = gradient(name, share);
      expect(some.gradient).toEqual(all.gradient);
      expect(some.statistics).toEqual(all.statistics);
      return some.recomputed;
    });
    expect(counts[2]).toBeGreaterThan(0);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(all.recomputed).toBe(0);
  });
});
