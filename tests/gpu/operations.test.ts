// Every operation on a GPU against the processors' engine, in each precision; our own kernels against ATen's.

import { beforeAll, describe, expect, it } from 'vitest';
import type { Precision } from '../../src/config/schema.ts';
import type { Engine } from '../../src/engines/engine.ts';
import { HostedReplica } from '../../src/engines/torch/device-replica.ts';
import type { Graph } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import {
  batchOf,
  normalisation,
  randomParameters,
  randomSplit,
  relativeDifference,
  setUp,
} from '../engines/fixtures.ts';
import { CLASSES, cases, wideCases } from '../engines/operation-graphs.ts';
import { addon, device, gpu, processors } from './fixtures.ts';

const SEED = 11;
const SEEDS = [11, 12, 13, 14, 15];
/** Where rounding decides a near-tie of a ReLU or a pool otherwise, a gradient is off by so much at most. */
const LARGEST_FLIP = 0.15;
const decides = ({ nodes }: Graph) => nodes.some(({ op }) => op === 'relu' || op === 'maxPool');
const SAMPLES = 3;
const graphs = Object.entries({ ...cases, ...wideCases });

function run(engine: Engine, graph: Graph, { seed = SEED, samples = SAMPLES, classes = CLASSES } = {}) {
  const split = randomSplit(seed, samples, classes);
  const setup = setUp(engine, graph, seed);
  const result = setup.replica.gradient([batchOf(split)], samples);
  const evaluation = setup.replica.evaluate(batchOf(split));
  setup.replica.dispose();
  return { ...setup, result, evaluation };
}

let cpu: Engine;
beforeAll(async () => {
  cpu = await processors();
});

describe.each<[Precision, number]>([
  ['float32', 1e-5],
  ['tf32', 2e-3],
  ['bfloat16', 2e-2],
])('in %s', (precision, tolerance) => {
  let cuda: Engine;
  beforeAll(async () => {
    cuda = await gpu(precision);
  });

  it.each(graphs)(`%s gives the processors' numbers, seeds ${SEEDS}`, (_, graph) => {
    const [there, here] = [run(cuda, graph), run(cpu, graph)];
    expect(Math.abs(there.result.lossSum / here.result.lossSum - 1)).toBeLessThan(tolerance);
    const differences = SEEDS.map((seed) =>
      relativeDifference(run(cuda, graph, { seed }).gradient, run(cpu, graph, { seed }).gradient),
    );
    const reduced = precision !== 'float32';
    // With near-ties, the seeds that have none count; without, all of them.
    const counted = reduced && decides(graph) ? Math.min(...differences) : Math.max(...differences);
    expect(counted, String(differences)).toBeLessThan(tolerance);
    if (reduced) expect(Math.max(...differences), String(differences)).toBeLessThan(LARGEST_FLIP);
    expect(relativeDifference(there.statistics, here.statistics)).toBeLessThan(tolerance);
    expect(Math.abs(there.evaluation.lossSum / here.evaluation.lossSum - 1)).toBeLessThan(tolerance);
    if (precision === 'float32') expect(there.evaluation.predictions).toEqual(here.evaluation.predictions);
  });
});

describe('our own kernels', () => {
  it.each(graphs)(`agree with ATen's in float32: %s, seed ${SEED}`, async (_, graph) => {
    const cuda = await gpu('float32');
    const own = run(cuda, graph);
    const gradient = new Float32Array(graph.parameterLength);
    const statistics = new Float32Array(graph.statisticsLength);
    statistics.set(initialStatistics(graph));
    const parameters = randomParameters(graph, SEED);
    const options = { graph, normalisation, parameters, gradient, statistics };
    const settings = { device, precision: 'float32', cudaGraph: 'off', plain: true } as const;
    const plain = new HostedReplica(addon, options, settings);
    plain.gradient([batchOf(randomSplit(SEED, SAMPLES, CLASSES))], SAMPLES);
    plain.dispose();
    expect(relativeDifference(own.gradient, gradient)).toBeLessThan(1e-5);
    expect(relativeDifference(own.statistics, statistics)).toBeLessThan(1e-6);
  });
});

describe('whole models in float32', () => {
  it.each([
    ['resnet8', 1, 1e-4],
    ['resnet18', 1, 5e-3],
    ['resnet50', 0.25, 5e-2],
    ['vgg19', 0.25, 5e-2],
  ] as const)(
    `%s of width %d: loss to 1e-5, gradient to %d, seeds ${SEEDS}`,
    async (name, width, tolerance) => {
      const graph = buildModel({ name, width, classes: 10 });
      const cuda = await gpu('float32');
      const options = { samples: 16, classes: 10 };
      const differences = SEEDS.map((seed) => {
        const [there, here] = [run(cuda, graph, { ...options, seed }), run(cpu, graph, { ...options, seed })];
        expect(Math.abs(there.result.lossSum / here.result.lossSum - 1)).toBeLessThan(1e-5);
        expect(there.result.correct).toBe(here.result.correct);
        expect(relativeDifference(there.statistics, here.statistics)).toBeLessThan(1e-5);
        return relativeDifference(there.gradient, here.gradient);
      });
      expect(Math.min(...differences), String(differences)).toBeLessThan(tolerance);
      expect(Math.max(...differences), String(differences)).toBeLessThan(LARGEST_FLIP);
    },
  );
});
