// What a run tells of itself: a line an epoch, and its sum at the end. The files are run-directory.ts's.

import type { Seeds } from '../config/seeds.ts';
import type { EvaluatedPart } from '../data/partition.ts';

/** One line of metrics.jsonl: only what the same run on the same machine gives again, to the bit. */
export interface EpochMetrics {
  readonly epoch: number;
  /** Position in the schedule, from 1. */
  readonly phase: number;
  /** Of the epoch's first step. */
  readonly learningRate: number;
  /** Whether S and A were gathered. */
  readonly analysed: boolean;
  /** Names of the candidates whose factor was above 1; the factors are in selections.jsonl. */
  readonly amplified: readonly string[];
  /** Those whose factor was below 1: slowed, or with a factor of 0 frozen. */
  readonly reduced: readonly string[];
  /** Steps without an update, for a gradient that was not finite. */
  readonly skippedSteps: number;
  /** Mean cross-entropy in nats over the epoch's training samples as they were seen; null if all were skipped. */
  readonly trainLoss: number | null;
  /** 0..1. */
  readonly trainAccuracy: number | null;
  /** Over the images held out of the training split; null, as the accuracy, where there are none. */
  readonly validationLoss: number | null;
  readonly validationAccuracy: number | null;
  readonly testLoss: number | null;
  readonly testAccuracy: number | null;
}

/** One line of timings.jsonl. */
export interface EpochTimings {
  readonly epoch: number;
  /** The whole epoch, evaluation included. */
  readonly seconds: number;
  /** Training images over the seconds that training them took. */
  readonly imagesPerSecond: number;
}

/** The epoch of highest accuracy on the data named: the first of several. */
export interface BestEpoch {
  /**
   * `validation` where images are held out: the test accuracy beside it had no part in the choice. `test` where none
   * are: the highest of many test accuracies, and for that reason too high.
   */
  readonly chosenOn: EvaluatedPart;
  readonly epoch: number;
  readonly validationAccuracy: number | null;
  readonly testAccuracy: number | null;
}

/** Null where no epoch has an accuracy on `chosenOn`. */
export function bestEpoch(history: readonly EpochMetrics[], chosenOn: EvaluatedPart): BestEpoch | null {
  let best: BestEpoch | null = null;
  let highest = Number.NEGATIVE_INFINITY;
  for (const { epoch, validationAccuracy, testAccuracy } of history) {
    const accuracy = chosenOn === 'validation' ? validationAccuracy : testAccuracy;
    if (accuracy === null || accuracy <= highest) continue;
    highest = accuracy;
    best = { chosenOn, epoch, validationAccuracy, testAccuracy };
  }
  return best;
}

/** summary.json. */
export interface RunSummary {
  readonly name: string;
  /** Of the last complete epoch; null, too, where nothing was held out. */
  readonly finalValidationAccuracy: number | null;
  readonly finalTestAccuracy: number | null;
  /** Null where no epoch is complete. */
  readonly best: BestEpoch | null;
  /** Complete epochs. */
  readonly epochs: number;
  readonly seconds: number;
  /** Over all complete epochs. */
  readonly imagesPerSecond: number | null;
  readonly parameters: number;
  readonly engine: string;
  /** Of the engine tfjs; null with another. */
  readonly backend: string | null;
  readonly devices: readonly string[];
  readonly seeds: Seeds;
  readonly dataset: string;
  /** The data set was made by `gradamp data synthesize`: its accuracies say nothing about CIFAR. */
  readonly synthetic: boolean;
  /** The run was stopped before its last epoch was complete. */
  readonly stopped: boolean;
}
