// Random pictures and parameters for the engines' tests, and how results are compared.

import { type Batch, IMAGE_BYTES, type Split } from '../../src/data/dataset.ts';
import type { Engine, Replica } from '../../src/engines/engine.ts';
import type { Graph } from '../../src/models/graph.ts';
import { initialParameters, initialStatistics } from '../../src/models/initialise.ts';
import { draw, Stream, toUnit } from '../../src/random.ts';

export const normalisation = { mean: [0.48, 0.45, 0.4], std: [0.24, 0.26, 0.28] };

const uniform = (seed: number, position: number) => toUnit(draw(seed, Stream.synthetic, position)[0]);

/** Blotches of 4x4 pixels with some noise, and labels. */
export function randomSplit(seed: number, size: number, classes: number): Split {
  const images = Uint8Array.from({ length: size * IMAGE_BYTES }, (_, byte) => {
    const [x, y, plane] = [byte % 32, Math.floor(byte / 32) % 32, Math.floor(byte / 1024)];
    const blotch = uniform(seed, (plane * 8 + Math.floor(y / 4)) * 8 + Math.floor(x / 4));
    return 255 * (0.8 * blotch + 0.2 * uniform(seed + 1, byte));
  });
  const labels = Uint8Array.from({ length: size }, (_, sample) =>
    Math.floor(classes * uniform(seed + 2, sample)),
  );
  return { name: 'train', size, images, labels };
}

export function batchOf(split: Split, first = 0, count = split.size - first): Batch {
  return { split, indices: Uint32Array.from({ length: count }, (_, i) => first + i) };
}

/** The pictures of a split as a replica sees them, in float64: [n, 32, 32, 3]. */
export function normalisedImages({ images, size }: Split): Float64Array {
  return Float64Array.from({ length: size * IMAGE_BYTES }, (_, index) => {
    const [channel, pixel] = [index % 3, Math.floor(index / 3)];
    const [sample, position] = [Math.floor(pixel / 1024), pixel % 1024];
    const value = images[sample * IMAGE_BYTES + channel * 1024 + position] / 255;
    return (value - normalisation.mean[channel]) / normalisation.std[channel];
  });
}

export interface Setup {
  readonly replica: Replica;
  readonly parameters: Float32Array;
  readonly gradient: Float32Array;
  readonly statistics: Float32Array;
}

/** Initial parameters, but gammas and betas are moved off 1 and 0, so that they count. */
export function randomParameters(graph: Graph, seed: number): Float32Array {
  const parameters = initialParameters(graph, seed);
  for (const layer of graph.layers.filter(({ kind }) => kind === 'batchNorm')) {
    for (const { offset, size } of layer.parameters) {
      for (let i = offset; i < offset + size; i++) parameters[i] += 0.4 * uniform(seed + 3, i) - 0.2;
    }
  }
  return parameters;
}

/** A replica on shared memory, as in training, with random parameters. */
export function setUp(engine: Engine, graph: Graph, seed: number): Setup {
  const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
  const parameters = shared(graph.parameterLength);
  parameters.set(randomParameters(graph, seed));
  const gradient = shared(graph.parameterLength);
  const statistics = shared(graph.statisticsLength);
  statistics.set(initialStatistics(graph));
  const replica = engine.createReplica({ graph, normalisation, parameters, gradient, statistics });
  return { replica, parameters, gradient, statistics };
}

/** |a - b| / |b|; 0 for equal vectors. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}
