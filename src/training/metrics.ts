// What a run tells of itself: a line an epoch, and its sum at the end. The files are run-directory.ts's.

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

/** summary.json. */
export interface RunSummary {
  readonly name: string;
  readonly finalTestAccuracy: number | null;
  readonly bestTestAccuracy: number | null;
  readonly bestEpoch: number | null;
  /** Complete epochs. */
  readonly epochs: number;
  readonly seconds: number;
  /** Over all complete epochs. */
  readonly imagesPerSecond: number | null;
  readonly parameters: number;
  readonly engine: string;
  readonly backend: string;
  readonly devices: readonly string[];
  readonly seed: number;
  readonly dataset: string;
  /** The data set was made by `gradamp data synthesize`: its accuracies say nothing about CIFAR. */
  readonly synthetic: boolean;
  /** The run was stopped before its last epoch was complete. */
  readonly stopped: boolean;
}
