// `gradamp bench update`: the fused update of the flat vector, and the bandwidth floor: the same streams of memory,
// of the same size, by the same threads, with no arithmetic to speak of. Both between the same barriers.

import { Worker } from 'node:worker_threads';
import type { ModelName } from '../src/config/schema.ts';
import { inspectNative } from '../src/engines/torch/load.ts';
import { UsageError } from '../src/errors.ts';
import { type Graph, SEGMENT_ALIGNMENT } from '../src/models/graph.ts';
import { buildModel } from '../src/models/index.ts';
import { fromPackage } from '../src/package-root.ts';
import { type ControlBuffers, createControlBuffers } from '../src/parallel/control.ts';
import { sharedFloat32 } from '../src/parallel/store.ts';
import { type Segment, segmentsOf, shardOf, type UpdateVectors } from '../src/training/update.ts';
import { median, ratioOfPairs, type Spread } from './statistics.ts';
import { fits, type Streams, trafficOf } from './stream-kernel.ts';
import { CLASSES } from './synthetic-data.ts';

export interface UpdateBenchOptions {
  readonly model: ModelName;
  readonly width: number;
  /** In place of the model: one tensor of so many. */
  readonly parameters?: number;
  readonly workers: number;
  /** With the accumulators of an analysis epoch. */
  readonly analysis: boolean;
  readonly samples: number;
}

/** What a worker can be asked to do once, between two barriers; the updaters by name. */
export type Work = 'typescript' | 'native' | 'floor';

export interface UpdateWorkerSetup {
  readonly rank: number;
  readonly control: ControlBuffers;
  readonly vectors: UpdateVectors;
  readonly segments: readonly Segment[];
  readonly streams: Streams;
}

export interface UpdateRow {
  readonly updater: Exclude<Work, 'floor'>;
  /** By sample. */
  readonly milliseconds: readonly number[];
  readonly medianMilliseconds: number;
  /** The floor's time / the updater's, over the samples: 1 at the floor. */
  readonly share: Spread;
}

export interface UpdateResult {
  readonly model: ModelName | null;
  readonly parameters: number;
  readonly workers: number;
  readonly analysis: boolean;
  /** Samples. */
  readonly n: number;
  /** Bytes that all workers read and write in a pass. */
  readonly traffic: number;
  readonly floor: {
    readonly milliseconds: readonly number[];
    readonly medianMilliseconds: number;
    readonly gigabytesPerSecond: number;
  };
  readonly rows: readonly UpdateRow[];
}

const updatersHere = (): readonly UpdateRow['updater'][] =>
  inspectNative().problem === undefined ? ['typescript', 'native'] : ['typescript'];
/** In milliseconds. */
const SHORTEST_SAMPLE = 100;

/**
 * @param report called after each sample with a line of progress.
 * @throws UsageError where a worker's part of the vectors is too large.
 */
export async function benchUpdate(
  options: UpdateBenchOptions,
  report: (line: string) => void,
): Promise<UpdateResult> {
  const { workers, analysis, samples } = options;
  const graph = options.parameters === undefined ? modelOf(options) : undefined;
  const length = graph?.parameterLength ?? padded(options.parameters!);
  const vectors = createVectors(length, workers, analysis);
  const setups = workerSetups(vectors, length, graph);
  const group = new UpdateWorkers(setups);
  try {
    const updaters = updatersHere();
    const works: readonly Work[] = [...updaters, 'floor'];
    const times = new Map(works.map((work) => [work, [] as number[]]));
    const passes = new Map<Work, number>();
    for (const work of works) passes.set(work, await group.warmUp(work));
    for (let sample = 1; sample <= samples; sample++) {
      for (const work of sample % 2 === 1 ? works : works.toReversed()) {
        times.get(work)!.push(await group.time(work, passes.get(work)!));
      }
      const text = [...times].map(([work, values]) => `${work} ${values[sample - 1].toFixed(3)} ms`);
      report(`sample ${sample} of ${samples}: ${text.join(', ')}`);
    }
    const floor = times.get('floor')!;
    const traffic = setups.reduce((sum, { streams }) => sum + trafficOf(streams), 0);
    return {
      model: graph ? options.model : null,
      parameters: graph?.parameterCount ?? options.parameters!,
      ...{ workers, analysis, n: samples, traffic },
      floor: {
        milliseconds: floor,
        medianMilliseconds: median(floor),
        gigabytesPerSecond: traffic / median(floor) / 1e6,
      },
      rows: updaters.map((updater) => {
        const milliseconds = times.get(updater)!;
        const share = ratioOfPairs(floor, milliseconds);
        return { updater, milliseconds, medianMilliseconds: median(milliseconds), share };
      }),
    };
  } finally {
    await group.close();
  }
}

const modelOf = ({ model, width }: UpdateBenchOptions) =>
  buildModel({ name: model, width, classes: CLASSES });

const padded = (parameters: number) => Math.ceil(parameters / SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT;

/** As the store of a run, with values that a long run of updates leaves finite. */
function createVectors(length: number, workers: number, analysis: boolean): UpdateVectors {
  const vector = () => sharedFloat32(length).fill(1e-3);
  return {
    weights: vector(),
    velocity: vector(),
    gradients: Array.from({ length: workers }, vector),
    ...(analysis && { accumulators: { S: vector(), A: vector() } }),
  };
}

function workerSetups(vectors: UpdateVectors, length: number, graph?: Graph): readonly UpdateWorkerSetup[] {
  const workers = vectors.gradients.length;
  const control = createControlBuffers(workers);
  return vectors.gradients.map((_, rank) => {
    const shard = shardOf(length, rank, workers);
    const segments = graph
      ? segmentsOf(graph, shard, new Map(), 'gradient')
      : [{ range: shard, tensor: 0, gradientFactor: 1, rateFactor: 1 }];
    const streams = { updated: vectors.accumulators ? 4 : 2, read: workers, length: shard[1] - shard[0] };
    if (streams.length === 0 || !fits(streams)) {
      throw new UsageError(
        `expected from ${SEGMENT_ALIGNMENT} parameters to 4 GiB of vectors for each of the ${workers} workers, got ` +
          `${streams.length} parameters for worker ${rank}; use another size or number of workers`,
      );
    }
    return { rank, control, vectors, segments, streams };
  });
}

/** What a worker is told. */
export interface UpdateOrder {
  readonly work: Work;
  readonly repetitions: number;
}

class UpdateWorkers {
  readonly #workers: readonly Worker[];

  constructor(setups: readonly UpdateWorkerSetup[]) {
    this.#workers = setups.map(
      (setup) => new Worker(fromPackage('dist', 'bench', 'update-worker.js'), { workerData: setup }),
    );
  }

  /** Milliseconds of a pass, by the clock of the first worker, barriers included. */
  async time(work: Work, repetitions: number): Promise<number> {
    const answers = this.#workers.map(
      (worker) =>
        new Promise<number>((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    );
    for (const worker of this.#workers) worker.postMessage({ work, repetitions } satisfies UpdateOrder);
    const [milliseconds] = await Promise.all(answers);
    for (const worker of this.#workers) worker.removeAllListeners('error');
    return milliseconds / repetitions;
  }

  /** Lets the loops compile, and finds how many passes fill a sample. */
  async warmUp(work: Work): Promise<number> {
    for (let passes = 1; ; passes *= 2) {
      const milliseconds = passes * (await this.time(work, passes));
      if (milliseconds >= SHORTEST_SAMPLE) return passes;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
