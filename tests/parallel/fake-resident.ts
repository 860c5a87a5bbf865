// A resident replica without a device: another engine's gradients, the update in TypeScript, and totals that lag as a
// device's do. The oracle of what src/engines/engine.ts asks of one; for a single worker.

import { directionSums, type Range } from '../../src/amplification/directionality.ts';
import type { Batch } from '../../src/data/dataset.ts';
import type {
  Engine,
  Replica,
  ReplicaOptions,
  ResidentOptions,
  ResidentReplica,
  ResidentStep,
  ResidentVector,
  StepTotals,
} from '../../src/engines/engine.ts';
import type { LayerFactors } from '../../src/models/candidates.ts';
import { localRates } from '../../src/training/lars.ts';
import {
  allFinite,
  clipFactor,
  intersect,
  type Segment,
  squaredNorms,
  tensorsOf,
  type UpdateOptions,
  update,
} from '../../src/training/update.ts';

/** Steps in flight. */
export const LAG = 3;

const NOTHING = { lossSum: 0, correct: 0, samples: 0, iterations: 0, skipped: 0, skippedInARow: 0 };

export class FakeResident implements ResidentReplica {
  readonly warning?: string;
  readonly #options: ResidentOptions;
  readonly #replica: Replica;
  readonly #vectors: Record<ResidentVector | 'gradient', Float32Array>;
  #segments: readonly Segment[] = [];
  #backpropagated: LayerFactors | undefined;
  #totals: StepTotals = NOTHING;
  /** Of the steps in flight, the oldest first. */
  #lagging: StepTotals[] = [];

  constructor(engine: Engine, options: ResidentOptions, warning?: string) {
    const { graph, normalisation, labelSmoothing } = options;
    const vector = () => new Float32Array(graph.parameterLength);
    this.warning = warning;
    this.#options = options;
    this.#vectors = {
      ...{ weights: vector(), velocity: vector(), gradient: vector(), S: vector(), A: vector() },
      statistics: new Float32Array(graph.statisticsLength),
    };
    const { weights: parameters, gradient, statistics } = this.#vectors;
    this.#replica = engine.createReplica({
      ...{ graph, normalisation, labelSmoothing, parameters, gradient, statistics },
    });
  }

  upload(vector: ResidentVector, values: Float32Array): void {
    this.#part(vector).set(values);
  }

  download(vector: ResidentVector | 'gradient', values: Float32Array): void {
    values.set(this.#part(vector));
  }

  /** Of S and A, the shard. */
  #part(vector: ResidentVector | 'gradient'): Float32Array {
    if (vector !== 'S' && vector !== 'A') return this.#vectors[vector];
    const { shard } = this.#options;
    if (!shard) throw new RangeError(`expected a replica that keeps S and A, got none for ${vector}`);
    return this.#vectors[vector].subarray(...shard);
  }

  join(): void {
    throw new Error('expected a single worker: the fake adds up no gradients');
  }

  begin(
    factors: readonly { readonly gradient: number; readonly rate: number }[],
    backpropagated?: LayerFactors,
    totals?: StepTotals,
  ): void {
    this.#segments = tensorsOf(this.#options.graph).map(({ offset, size }, tensor) => {
      const { gradient: gradientFactor, rate: rateFactor } = factors[tensor];
      return { range: [offset, offset + size], tensor, gradientFactor, rateFactor };
    });
    this.#backpropagated = backpropagated;
    this.#totals = totals ?? { ...NOTHING, skippedInARow: this.#totals.skippedInARow };
    this.#lagging = Array(LAG).fill(this.#totals);
  }

  step({ passes, batchSize, learningRate, analysed, first }: ResidentStep): StepTotals {
    const { capacity, shard } = this.#options;
    const { weights, velocity, gradient, statistics, S, A } = this.#vectors;
    const samples = passes.reduce((sum, { indices }) => sum + indices.length, 0);
    if (samples > capacity) throw new RangeError(`expected at most ${capacity} samples, got ${samples}`);
    if (first) for (const sums of [S, A]) sums.fill(0);
    const before = statistics.slice();
    const { lossSum, correct } = this.#replica.gradient(passes, batchSize, this.#backpropagated);
    const totals = { ...this.#totals };
    if ([gradient, statistics, Float32Array.of(lossSum)].every(allFinite)) {
      const accumulators = analysed && shard ? { S, A } : undefined;
      update(
        { weights, velocity, gradients: [gradient], accumulators },
        this.#segments,
        this.#updateOptions(learningRate),
      );
      totals.lossSum += lossSum;
      totals.correct += correct;
      totals.samples += samples;
      totals.iterations++;
      totals.skippedInARow = 0;
    } else {
      statistics.set(before);
      totals.skipped++;
      totals.skippedInARow++;
    }
    this.#totals = totals;
    this.#lagging.push(totals);
    return this.#lagging.shift()!;
  }

  totals(): StepTotals {
    return this.#totals;
  }

  evaluate(batch: Batch) {
    return this.#replica.evaluate(batch);
  }

  measure() {
    const { graph, shard } = this.#options;
    return tensorsOf(graph).map(({ offset, size }) => {
      const range: Range = intersect([offset, offset + size], shard ?? [0, 0]);
      const { size: counted, dead, ...sums } = directionSums(this.#vectors, range);
      return { ...sums, alive: counted - dead };
    });
  }

  dispose(): void {
    this.#replica.dispose();
  }

  #updateOptions(learningRate: number): UpdateOptions {
    const { graph, momentum, nesterov, weightDecay, measureWeightDecay, clipNorm, lars } = this.#options;
    const tensors = tensorsOf(graph);
    const normsOf = (vector: Float32Array) => {
      const norms = new Float64Array(tensors.length);
      squaredNorms([vector], this.#segments, norms);
      return norms;
    };
    const gradient = normsOf(this.#vectors.gradient);
    const clipScale = clipNorm === undefined ? 1 : clipFactor(gradient, clipNorm);
    const norms = { weights: normsOf(this.#vectors.weights), gradient };
    return {
      ...{ learningRate, momentum, nesterov, weightDecay, measureWeightDecay, clipScale },
      ...(lars && { localRates: localRates(tensors, norms, { ...lars, weightDecay, clipScale }) }),
    };
  }
}

/** The engine as it is, but that it can keep a run to itself. */
export const resident = (engine: Engine, warning?: string): Engine => ({
  ...engine,
  createResidentReplica: (options) => new FakeResident(engine, options, warning),
  makeGroupId: () => new Uint8Array(128),
});

/** The engine as it is, but that something happens behind each gradient; steps are counted from 0 by replica. */
export const meddled = (
  engine: Engine,
  meddle: (step: number, vectors: Pick<ReplicaOptions, 'gradient' | 'statistics'>) => void,
): Engine => ({
  ...engine,
  createReplica(options) {
    const replica = engine.createReplica(options);
    let step = 0;
    return {
      gradient(...call) {
        const result = replica.gradient(...call);
        meddle(step++, options);
        return result;
      },
      evaluate: (batch) => replica.evaluate(batch),
      memory: () => replica.memory(),
      dispose: () => replica.dispose(),
    };
  },
});
