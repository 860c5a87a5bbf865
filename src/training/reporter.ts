// What a run tells whoever watches it. The command line shows it; tests and other programs may do as they like.

import type { PARTICIPLES, Response } from '../amplification/response.ts';
import type { Selection } from '../amplification/selection.ts';

/** What is done to chosen layers in an epoch. */
export type ActingPhase = (typeof PARTICIPLES)[Response];

/** What an epoch is: as it is, measured as well, or one in which chosen layers are acted upon. */
export type EpochPhase = 'plain' | 'analysis' | ActingPhase;

/** What is known of a run before its first epoch. */
export interface RunOutline {
  readonly name: string;
  readonly model: string;
  readonly dataset: string;
  readonly devices: readonly string[];
  readonly batchSize: number;
  /** Images that are held out and evaluated every epoch; 0: none. */
  readonly validation: number;
  /** Epoch 1, 2, ... as planned. One in which chosen layers would be acted upon is plain where there are none. */
  readonly epochs: readonly { readonly phase: EpochPhase; readonly learningRate: number }[];
}

/** Where the run is, renewed several times a second. */
export interface Progress {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  /** Of the epoch. */
  readonly steps: number;
  /** 0 before the first. */
  readonly imagesPerSecond: number;
  /** Mean over the samples of the epoch so far; NaN before the first. */
  readonly loss: number;
  /** 0..1; NaN before the first sample. */
  readonly accuracy: number;
  /** Of the whole run; infinite while nothing is known. */
  readonly secondsLeft: number;
  /** `evaluation`: of the test images. */
  readonly phase: EpochPhase | 'validation' | 'evaluation';
}

/** A complete epoch. Accuracies are 0..1; null where no sample was counted. */
export interface EpochLine {
  readonly epoch: number;
  readonly epochs: number;
  readonly phase: EpochPhase;
  readonly learningRate: number;
  readonly trainLoss: number | null;
  readonly trainAccuracy: number | null;
  /** Null, as the accuracy, without validation images. */
  readonly validationLoss: number | null;
  readonly validationAccuracy: number | null;
  readonly testLoss: number | null;
  readonly testAccuracy: number | null;
  /** The whole epoch, evaluation included. */
  readonly seconds: number;
  /** Of training. */
  readonly imagesPerSecond: number;
  readonly skippedSteps: number;
}

export interface Reporter {
  /**
   * Before the first epoch.
   * @param history the epochs that are complete already, of a run that goes on.
   * @param selection its last one.
   */
  start(outline: RunOutline, history: readonly EpochLine[], selection?: Selection): void;
  update(progress: Progress): void;
  epochEnd(line: EpochLine): void;
  /** At the end of an analysis, before the epoch's end. */
  selection(selection: Selection): void;
  /** Something worth a line of its own. */
  message(text: string): void;
  /** Leaves the terminal as it was found. */
  close(): void;
}
