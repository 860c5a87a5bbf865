// Between a store, which the workers train in, and the state of a run, which nobody changes any more.

import type { Config } from '../config/schema.ts';
import type { StepTotals } from '../engines/engine.ts';
import type { Graph } from '../models/graph.ts';
import { meanStatistics, type RunProgress, type RunState, type RunVectors } from '../training/run-state.ts';
import type { ParameterStore } from './store.ts';

/**
 * One copy of the store in memory, while no worker is in a step.
 * @param analysing whether S and A are sums of steps behind the last complete epoch.
 */
export function takeSnapshot(store: ParameterStore, progress: RunProgress, analysing: boolean): RunState {
  const { weights, velocity, statistics, accumulators } = store;
  // At the end of an epoch those of all workers are equal.
  const kept = progress.step === 0 ? statistics.slice(0, 1) : statistics;
  return {
    progress,
    vectors: {
      weights: weights.slice(),
      velocity: velocity.slice(),
      statistics: kept.map((values) => values.slice()),
      ...(analysing &&
        accumulators && { accumulators: { S: accumulators.S.slice(), A: accumulators.A.slice() } }),
    },
  };
}

/** Bytes of a copy at its largest, which is inside an analysis. */
export function snapshotBytes(graph: Graph, { devices, amplification }: Config): number {
  const vectors = amplification === 'none' ? 2 : 4;
  return 4 * (vectors * graph.parameterLength + devices.length * graph.statisticsLength);
}

/** The store then holds the vectors; running statistics of another number of workers become their mean. */
export function fillStore(store: ParameterStore, vectors: RunVectors): void {
  store.weights.set(vectors.weights);
  store.velocity.set(vectors.velocity);
  const mean = meanStatistics(vectors);
  const same = vectors.statistics.length === store.statistics.length;
  for (const [rank, values] of store.statistics.entries()) values.set(same ? vectors.statistics[rank] : mean);
  if (!store.accumulators || !vectors.accumulators) return;
  store.accumulators.S.set(vectors.accumulators.S);
  store.accumulators.A.set(vectors.accumulators.A);
}

/** Totals by rank for another number of workers: sums go to the first, what all share to all. */
export function redistribute(totals: readonly StepTotals[], worldSize: number): readonly StepTotals[] {
  if (totals.length === worldSize || totals.length === 0) return totals;
  const sum = (key: 'lossSum' | 'correct' | 'samples') =>
    totals.reduce((total, part) => total + part[key], 0);
  const { iterations, skipped, skippedInARow } = totals[0];
  const shared = { iterations, skipped, skippedInARow };
  return Array.from({ length: worldSize }, (_, rank) =>
    rank === 0
      ? { lossSum: sum('lossSum'), correct: sum('correct'), samples: sum('samples'), ...shared }
      : { lossSum: 0, correct: 0, samples: 0, ...shared },
  );
}
