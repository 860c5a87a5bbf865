// All that a run remembers: what a checkpoint holds, and what a fork starts from. Plain data and vectors; how they are
// written is checkpoint.ts's, how they come about src/parallel/coordinator.ts's.

import type { DirectionAccumulators } from '../amplification/directionality.ts';
import type { MeasuredLayer, Selection } from '../amplification/selection.ts';
import type { StepTotals } from '../engines/engine.ts';
import type { EpochMetrics, EpochTimings } from './metrics.ts';

/** Where a run stands. */
export interface RunPlace {
  /** Complete epochs. */
  readonly epoch: number;
  /** Steps taken in the epoch after those. */
  readonly step: number;
}

export const placeOf = ({ history, step }: RunProgress): RunPlace => ({ epoch: history.length, step });

/** How far a run has come. */
export interface RunProgress {
  /** Of the complete epochs. */
  readonly history: readonly EpochMetrics[];
  /** Of the same epochs. */
  readonly timings: readonly EpochTimings[];
  /** The last one is the current choice of layers, in the epochs that act upon one. */
  readonly selections: readonly Selection[];
  /** What the last selection was made from: another rule can choose again. */
  readonly measured: readonly MeasuredLayer[];
  /** Steps taken in the epoch behind the complete ones; 0 at an epoch's end. */
  readonly step: number;
  /**
   * Of those steps, by rank; `iterations` is m, the number of optimizer steps that S and A are sums of. Of a run that
   * stands at an epoch's end, only `skippedInARow` is not 0.
   */
  readonly totals: readonly StepTotals[];
  /** Spent on training, on that of the epoch behind the complete ones, and altogether; by all processes of the run. */
  readonly trainingSeconds: number;
  readonly epochSeconds: number;
  readonly seconds: number;
  /** The engine and backend that it was computed with last, with versions; empty before the first step. */
  readonly engine: string;
}

/** Laid out by the model's graph. */
export interface RunVectors {
  /** [graph.parameterLength] */
  readonly weights: Float32Array;
  /** The momentum buffer; [graph.parameterLength]. */
  readonly velocity: Float32Array;
  /** By rank, running statistics of the batch norms: [graph.statisticsLength]. One for all where they are equal. */
  readonly statistics: readonly Float32Array[];
  /** S and A, inside an analysis epoch. */
  readonly accumulators?: DirectionAccumulators;
}

/** Float32 [graph.statisticsLength]: what the running statistics are at an epoch's end. Not a copy where there is one. */
export function meanStatistics({ statistics }: Pick<RunVectors, 'statistics'>): Float32Array {
  const [first, ...others] = statistics;
  if (others.length === 0) return first;
  const sum = (value: number, i: number) => others.reduce((total, other) => total + other[i], value);
  return first.map((value, i) => sum(value, i) / statistics.length);
}

/** A run between two of its steps. */
export interface RunState {
  readonly progress: RunProgress;
  readonly vectors: RunVectors;
}

/** Nothing has been trained. */
export const NO_PROGRESS: RunProgress = {
  history: [],
  timings: [],
  selections: [],
  measured: [],
  step: 0,
  totals: [],
  trainingSeconds: 0,
  epochSeconds: 0,
  seconds: 0,
  engine: '',
};
