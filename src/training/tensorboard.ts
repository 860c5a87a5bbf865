// What TensorBoard shows of a run: scalars an epoch, and histograms and the chosen layers at analyses. The step of
// everything is the epoch.

import { PARTICIPLES } from '../amplification/response.ts';
import type { Selection } from '../amplification/selection.ts';
import { candidateNoun } from '../models/candidates.ts';
import type { AppendFile } from './append-file.ts';
import type { Summary } from './event.ts';
import { EventFile } from './event-file.ts';
import type { EpochMetrics, EpochTimings } from './metrics.ts';

/** Writes an event file of a run's folder. Holds wall times: never the same twice. */
export class TensorBoardLog {
  readonly #file: EventFile;

  /**
   * The file comes into being now.
   * @param resumedAt the epoch that a run goes on with: what earlier files say of it and of later ones is void.
   */
  constructor(file: AppendFile, resumedAt?: number) {
    this.#file = new EventFile(file, Date.now() / 1000, resumedAt);
  }

  epoch(metrics: EpochMetrics, { imagesPerSecond }: EpochTimings): void {
    this.#append(metrics.epoch, epochScalars(metrics, imagesPerSecond));
  }

  selection(selection: Selection): void {
    this.#append(selection.epoch, selectionSummaries(selection));
  }

  #append(step: number, summaries: readonly Summary[]): void {
    this.#file.append([{ wallTime: Date.now() / 1000, step, what: { summaries } }]);
  }
}

/** A figure that an epoch does not have is left out. */
export function epochScalars(metrics: EpochMetrics, imagesPerSecond: number): readonly Summary[] {
  const values = {
    'loss/train': metrics.trainLoss,
    'loss/validation': metrics.validationLoss,
    'loss/test': metrics.testLoss,
    'accuracy/train': metrics.trainAccuracy,
    'accuracy/validation': metrics.validationAccuracy,
    'accuracy/test': metrics.testAccuracy,
    learning_rate: metrics.learningRate,
    images_per_second: imagesPerSecond,
    skipped_steps: metrics.skippedSteps,
    amplified_layers: metrics.amplified.length,
    reduced_layers: metrics.reduced.length,
  };
  return Object.entries(values).flatMap(([tag, value]) =>
    value === null ? [] : [{ kind: 'scalar', tag, value } as const],
  );
}

/** Histograms over the candidate layers, without what is not finite, and a table of the chosen ones. */
export function selectionSummaries({ layers, pooling, response, degenerate }: Selection): readonly Summary[] {
  const histograms = (['z', 'G', 'Gprime'] as const).flatMap((name) => {
    const values = layers.map((layer) => layer[name]).filter(Number.isFinite);
    return values.length === 0 ? [] : [{ kind: 'histogram', tag: `layers/${name}`, values } as const];
  });
  const chosen = layers.filter((layer) => layer.chosen);
  const noun = candidateNoun(pooling);
  const title = `**${chosen.length} of ${layers.length}** ${noun}s chosen to be ${PARTICIPLES[response]}${degenerate ? ` (no z-scores: ${degenerate})` : ''}`;
  const rows = chosen.map(
    ({ name, kind, z, G, Gprime, factor }) =>
      `| ${name} | ${kind} | ${z.toFixed(3)} | ${G.toFixed(4)} | ${Gprime.toFixed(4)} | ${factor.toFixed(3)} |`,
  );
  const table = [`| ${noun} | kind | z | G | Gprime | factor |`, '|:--|:--|--:|--:|--:|--:|', ...rows];
  const text = chosen.length === 0 ? title : [title, '', ...table].join('\n');
  return [...histograms, { kind: 'text', tag: 'layers/chosen', text }];
}
