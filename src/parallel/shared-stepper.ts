// Steps over shared memory: each worker writes a gradient buffer, and updates one shard of the weights from all of them.

import { addSums, type DirectionSums, directionSums, NO_SUMS } from '../amplification/directionality.ts';
import type { Batch } from '../data/dataset.ts';
import { type Engine, NO_STEPS, type PassResult, type Replica, type StepTotals } from '../engines/engine.ts';
import type { Candidate, LayerFactors } from '../models/candidates.ts';
import { updaterOf } from '../training/kernel-update.ts';
import { localRates } from '../training/lars.ts';
import { firstNonFinite } from '../training/non-finite.ts';
import {
  addUp,
  clipFactor,
  intersect,
  type Segment,
  segmentsOf,
  shardOf,
  tensorsOf,
  type UpdateOptions,
  type Updater,
} from '../training/update.ts';
import { createAllGather } from './all-gather.ts';
import { recordGradient } from './record.ts';
import type { SkippedStep, Step, Stepper, StepperOrder } from './stepper.ts';
import { type StepperSetup, updateSettings } from './stepper-setup.ts';

export class SharedStepper implements Stepper {
  readonly #setup: StepperSetup;
  readonly #replica: Replica;
  readonly #updater: Updater;
  readonly #shard: readonly [number, number];
  readonly #candidates: readonly Candidate[];
  #analysed = false;
  #segments: readonly Segment[] = [];
  #backpropagated: LayerFactors | undefined;
  #statistics: Float32Array;
  #totals = { ...NO_STEPS };
  #result: PassResult = { lossSum: 0, correct: 0 };
  nonFinite: SkippedStep | undefined;

  constructor(engine: Engine, setup: StepperSetup) {
    const { rank, config, graph, dataset, store, control, candidates } = setup;
    this.#setup = setup;
    this.#candidates = candidates;
    this.#shard = shardOf(graph.parameterLength, rank, control.worldSize);
    this.#statistics = new Float32Array(graph.statisticsLength);
    this.#updater = updaterOf(engine);
    this.#replica = engine.createReplica({
      graph,
      normalisation: dataset.normalisation,
      parameters: store.weights,
      gradient: store.gradients[rank],
      statistics: store.statistics[rank],
      labelSmoothing: config.labelSmoothing,
      ...(store.gathered && { allGather: createAllGather(store.gathered, rank, control) }),
    });
  }

  begin({ factors, analysed, totals }: StepperOrder): void {
    const { graph, config } = this.#setup;
    const { apply } = updateSettings(config);
    this.#analysed = analysed;
    this.#backpropagated = apply === 'backpropagated' ? factors : undefined;
    this.#segments =
      apply === 'backpropagated'
        ? segmentsOf(graph, this.#shard, new Map(), 'gradient')
        : segmentsOf(graph, this.#shard, factors, apply);
    const { skippedInARow } = this.#totals;
    this.#totals = { ...NO_STEPS, skippedInARow, ...totals };
    if (this.#totals.skippedInARow === 0) this.nonFinite = undefined;
  }

  compute({ passes, batchSize, first }: Step): void {
    const { rank, store, control } = this.#setup;
    const { accumulators } = store;
    if (first && this.#analysed && accumulators) {
      accumulators.S.fill(0, ...this.#shard);
      accumulators.A.fill(0, ...this.#shard);
    }
    this.#statistics.set(store.statistics[rank]);
    this.#result = this.#replica.gradient(passes, batchSize, this.#backpropagated);
    // A variance can overflow though every gradient is finite; and what runs along would never recover.
    const finite = [store.gradients[rank], store.statistics[rank]].every(this.#updater.allFinite);
    control.setNonFinite(rank, !(finite && Number.isFinite(this.#result.lossSum)));
  }

  update({ passes, learningRate, optimizerStep }: Step): StepTotals {
    const { rank, config, store, control, directory } = this.#setup;
    const totals = this.#totals;
    if (control.anyNonFinite) {
      this.#noteNonFinite(optimizerStep);
      store.statistics[rank].set(this.#statistics);
      totals.skipped++;
      totals.skippedInARow++;
      return totals;
    }
    recordGradient(config, optimizerStep, { rank, directory, gradients: () => store.gradients });
    const scales = this.#scales();
    const { momentum, weightDecay, nesterov } = config;
    const { measureWeightDecay } = updateSettings(config);
    const { weights, velocity, gradients } = store;
    const accumulators = this.#analysed ? store.accumulators : undefined;
    this.#updater.update({ weights, velocity, gradients, accumulators }, this.#segments, {
      ...{ learningRate, momentum, weightDecay, nesterov },
      ...{ measureWeightDecay, ...scales },
    });
    totals.lossSum += this.#result.lossSum;
    totals.correct += this.#result.correct;
    totals.samples += passes.reduce((count, { indices }) => count + indices.length, 0);
    totals.iterations++;
    totals.skippedInARow = 0;
    return totals;
  }

  end(): StepTotals {
    return this.#totals;
  }

  evaluate(batch: Batch): PassResult {
    return this.#replica.evaluate(batch);
  }

  measure(): readonly DirectionSums[] {
    const { accumulators } = this.#setup.store;
    if (!accumulators) throw new Error('expected a run that amplifies: without it nothing is measured');
    return this.#candidates.map(({ measured }) =>
      measured
        .map(({ offset, size }) =>
          directionSums(accumulators, intersect([offset, offset + size], this.#shard)),
        )
        .reduce(addSums, NO_SUMS),
    );
  }

  /** The store has all there is. */
  publish(): void {}

  resetMomentum(): void {
    this.#setup.store.velocity.fill(0, ...this.#shard);
  }

  dispose(): void {
    this.#replica.dispose();
  }

  /** Once for all steps skipped in a row, before the statistics are put back. */
  #noteNonFinite(optimizerStep: number): void {
    if (this.nonFinite && this.#totals.skippedInARow > 0) return;
    const { rank, graph, store } = this.#setup;
    const where = firstNonFinite(graph, {
      ...{ weights: store.weights, gradient: store.gradients[rank], statistics: store.statistics[rank] },
      lossSum: this.#result.lossSum,
    });
    // Else it is another worker that knows.
    this.nonFinite = where === undefined ? undefined : { optimizerStep, where };
  }

  /** What clipping and LARS make of this step: they look at whole tensors, so one more barrier where either is on. */
  #scales(): Pick<UpdateOptions, 'clipScale' | 'localRates'> {
    const { rank, config, store, graph, control } = this.#setup;
    const { clipNorm, lars, weightDecay } = config;
    if (clipNorm === undefined && !lars) return { clipScale: 1 };
    const { squaredNorms } = this.#updater;
    squaredNorms(store.gradients, this.#segments, store.norms[rank].gradient);
    if (lars) squaredNorms([store.weights], this.#segments, store.norms[rank].weights);
    control.barrier();
    const gradient = addUp(store.norms.map((norms) => norms.gradient));
    const clipScale = clipNorm === undefined ? 1 : clipFactor(gradient, clipNorm);
    if (!lars) return { clipScale };
    const weights = addUp(store.norms.map((norms) => norms.weights));
    const tensors = tensorsOf(graph);
    return {
      clipScale,
      localRates: localRates(tensors, { weights, gradient }, { ...lars, weightDecay, clipScale }),
    };
  }
}
