// Steps on a device: weights, momentum, S and A stay there, and the host runs ahead of it.

import { addSums, type DirectionSums, NO_SUMS } from '../amplification/directionality.ts';
import type { Batch } from '../data/dataset.ts';
import { largestPass, passesOf } from '../data/sampling.ts';
import type { Engine, PassResult, ResidentReplica, StepTotals } from '../engines/engine.ts';
import type { Candidate } from '../models/candidates.ts';
import { firstNonFinite } from '../training/non-finite.ts';
import { intersect, segmentsOf, shardOf, tensorsOf } from '../training/update.ts';
import { synchronisesBatchNorm } from './all-gather.ts';
import { recordGradient } from './record.ts';
import type { SkippedStep, Step, Stepper, StepperOrder } from './stepper.ts';
import { type StepperSetup, updateSettings } from './stepper-setup.ts';

/** An engine on a device that can keep all there is of a run. */
export type ResidentEngine = Required<Pick<Engine, 'createResidentReplica' | 'makeGroupId'>>;

export class ResidentStepper implements Stepper {
  readonly #engine: ResidentEngine;
  readonly #setup: StepperSetup;
  readonly #replica: ResidentReplica;
  readonly #shard: readonly [number, number];
  readonly #candidates: readonly Candidate[];
  #uploaded = false;
  #joined = false;
  #analysed = false;
  #totals: StepTotals | undefined;
  /** The last one. */
  #optimizerStep = 0;
  nonFinite: SkippedStep | undefined;

  constructor(engine: ResidentEngine, setup: StepperSetup) {
    const { rank, config, graph, dataset, store, control, candidates } = setup;
    const { labelSmoothing, momentum, nesterov, weightDecay, clipNorm, lars } = config;
    this.#engine = engine;
    this.#setup = setup;
    this.#candidates = candidates;
    this.#shard = shardOf(graph.parameterLength, rank, control.worldSize);
    this.#replica = engine.createResidentReplica({
      ...{ graph, normalisation: dataset.normalisation, labelSmoothing },
      syncBatchNorm: synchronisesBatchNorm(config),
      capacity: largestShare(setup),
      ...(store.accumulators && { shard: this.#shard }),
      ...{ momentum, nesterov, weightDecay, clipNorm, lars },
      measureWeightDecay: updateSettings(config).measureWeightDecay,
    });
  }

  begin({ factors, analysed, totals }: StepperOrder): void {
    const { rank, graph, config, store } = this.#setup;
    const { apply } = updateSettings(config);
    this.#upload();
    this.#join();
    this.#replica.upload('statistics', store.statistics[rank]);
    this.#analysed = analysed;
    const all = [0, graph.parameterLength] as const;
    const segments =
      apply === 'backpropagated'
        ? segmentsOf(graph, all, new Map(), 'gradient')
        : segmentsOf(graph, all, factors, apply);
    this.#replica.begin(
      segments.map(({ gradientFactor, rateFactor }) => ({ gradient: gradientFactor, rate: rateFactor })),
      apply === 'backpropagated' ? factors : undefined,
      totals,
    );
  }

  compute({ passes, batchSize, learningRate, first }: Step): void {
    const analysed = this.#analysed;
    this.#totals = this.#replica.step({
      ...{ passes, batchSize, learningRate, analysed },
      first: first && analysed,
    });
  }

  update({ optimizerStep }: Step): StepTotals {
    this.#optimizerStep = optimizerStep;
    const { rank, config, directory, graph } = this.#setup;
    const gradients = () => {
      // Waits for this step, as the download does.
      if (this.#replica.totals().skippedInARow > 0) return undefined;
      const gradient = new Float32Array(graph.parameterLength);
      this.#replica.download('gradient', gradient);
      return [gradient];
    };
    recordGradient(config, optimizerStep, { rank, directory, gradients });
    if (!this.#totals) throw new Error('expected a step that was computed before its update');
    return this.#totals;
  }

  end(): StepTotals {
    const { rank, store } = this.#setup;
    this.#replica.download('statistics', store.statistics[rank]);
    const totals = this.#replica.totals();
    this.nonFinite = totals.skippedInARow > 0 ? this.#nonFinite() : undefined;
    return totals;
  }

  evaluate(batch: Batch): PassResult {
    const { rank, store } = this.#setup;
    this.#upload();
    this.#replica.upload('statistics', store.statistics[rank]);
    return this.#replica.evaluate(batch);
  }

  measure(): readonly DirectionSums[] {
    const tensors = tensorsOf(this.#setup.graph);
    const positions = new Map(tensors.map(({ offset }, position) => [offset, position]));
    const sums = this.#replica.measure();
    return this.#candidates.map(({ measured }) =>
      measured
        .map(({ offset, size }) => {
          const { netSum, totalSum, ratioSum, alive } = sums[positions.get(offset)!];
          const [start, end] = intersect([offset, offset + size], this.#shard);
          return { netSum, totalSum, ratioSum, size: end - start, dead: end - start - alive };
        })
        .reduce(addSums, NO_SUMS),
    );
  }

  publish(): void {
    // The store has all there is as yet.
    if (!this.#uploaded) return;
    const { rank, store } = this.#setup;
    for (const [vector, values] of this.#accumulators()) this.#replica.download(vector, values);
    if (rank !== 0) return;
    this.#replica.download('weights', store.weights);
    this.#replica.download('velocity', store.velocity);
  }

  resetMomentum(): void {
    this.#upload();
    this.#replica.upload('velocity', new Float32Array(this.#setup.graph.parameterLength));
  }

  get warning(): string | undefined {
    return this.#replica.warning;
  }

  dispose(): void {
    const { aborted, worldSize } = this.#setup.control;
    // What it launched last may be a collective that somebody else never came to.
    if (aborted && worldSize > 1) this.#replica.abandon?.();
    this.#replica.dispose();
  }

  /** Of the last step: the device has its gradient still, but put its statistics back, and keeps no loss. */
  #nonFinite(): SkippedStep {
    const { graph } = this.#setup;
    const vectors = (['weights', 'gradient'] as const).map((vector) => {
      const values = new Float32Array(graph.parameterLength);
      this.#replica.download(vector, values);
      return values;
    });
    const [weights, gradient] = vectors;
    const where = firstNonFinite(graph, { weights, gradient }) ?? 'the activations or the loss';
    return { optimizerStep: this.#optimizerStep, where };
  }

  /** Before the first step, with all other workers. */
  #join(): void {
    const { rank, control } = this.#setup;
    if (this.#joined || control.worldSize === 1) return;
    this.#joined = true;
    const id = control.shareGroupId(rank, () => this.#engine.makeGroupId());
    this.#replica.join(id, rank, control.worldSize, () => control.barrier());
    // NCCL in several threads of one process: a collective that is launched before all have joined can wait for ever.
    control.barrier();
  }

  /** What the store holds when this worker is first told to do something: all have drawn their shards of it by then. */
  #upload(): void {
    if (this.#uploaded) return;
    this.#uploaded = true;
    const { store } = this.#setup;
    this.#replica.upload('weights', store.weights);
    this.#replica.upload('velocity', store.velocity);
    for (const [vector, values] of this.#accumulators()) this.#replica.upload(vector, values);
  }

  /** This worker's shard of those of the store, in a run that amplifies. */
  #accumulators(): readonly (readonly ['S' | 'A', Float32Array])[] {
    const { accumulators } = this.#setup.store;
    if (!accumulators) return [];
    const { S, A } = accumulators;
    return [
      ['S', S.subarray(...this.#shard)],
      ['A', A.subarray(...this.#shard)],
    ];
  }
}

/** Most samples that this worker has in a step. */
function largestShare({ rank, config, control }: StepperSetup): number {
  const { batchSize, accumulate, microBatch } = config;
  const { worldSize } = control;
  const share = passesOf({ batch: batchSize, rank, worldSize, microBatch }).reduce(
    (samples, [start, end]) => samples + end - start,
    0,
  );
  // The last batches of an epoch are short, and may be shared in another way.
  return accumulate * Math.max(share, largestPass({ batch: batchSize, worldSize, microBatch })) + worldSize;
}
