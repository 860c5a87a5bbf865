// How a worker takes its steps: what the step loop (trainer.ts) asks, and what shared memory and devices each do for it.

import type { DirectionSums } from '../amplification/directionality.ts';
import type { Batch } from '../data/dataset.ts';
import type { PassResult, StepTotals } from '../engines/engine.ts';
import type { LayerFactors } from '../models/candidates.ts';

/** Of the steps of (a part of) one epoch. */
export interface StepperOrder {
  /** Of the candidates that an earlier analysis chose. */
  readonly factors: LayerFactors;
  /** The accumulators see the gradients. */
  readonly analysed: boolean;
  /** That the steps are added to; from 0, but for `skippedInARow`, without. */
  readonly totals?: StepTotals;
}

export interface Step {
  /** This worker's share. */
  readonly passes: readonly Batch[];
  /** Samples of all workers. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** Where the epoch is analysed: the accumulators start from 0. */
  readonly first: boolean;
  /** Counted from 1 over the run. */
  readonly optimizerStep: number;
}

/** A step with numbers that are not finite. */
export interface SkippedStep {
  readonly optimizerStep: number;
  /** See `firstNonFinite`. */
  readonly where: string;
}

export interface Stepper {
  begin(order: StepperOrder): void;
  /** In front of the barrier before the update: this worker's part of the gradient. */
  compute(step: Step): void;
  /**
   * Between the barriers around an update: all the rest of the step.
   * @returns the order's totals and the sums since `begin`; a device's are those of a few steps before, the same number
   * of steps for all workers.
   */
  update(step: Step): StepTotals;
  /** Behind the last step: what there is of all of them. The store has this worker's running statistics then. */
  end(): StepTotals;
  /** With the statistics of the store. */
  evaluate(batch: Batch): PassResult;
  /** By candidate, what this worker's shard adds to its sums. */
  measure(): readonly DirectionSums[];
  /** Puts what only this worker has, of weights, momentum, S and A, into the store. While no worker is in a step. */
  publish(): void;
  /** The momentum buffer starts from 0. While no worker is in a step. */
  resetMomentum(): void;
  /**
   * Of the steps skipped last, since `begin` or since before it where none between was not skipped. Over shared memory
   * the first of them, if this worker's own numbers were not finite; on a device the one that the order ended with.
   */
  readonly nonFinite?: SkippedStep;
  readonly warning?: string;
  dispose(): void;
}
