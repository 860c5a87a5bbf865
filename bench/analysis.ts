// `gradamp bench analysis`: what it costs to measure gradients: an epoch that accumulates S and A and chooses layers
// at its end, over a plain one. Evaluation, which both kinds have alike, is outside the clock.

import type { DeviceMemory } from '../src/engines/engine.ts';
import { type Measured, type MeasuredOptions, measuredConfig, measuredOf } from './measured.ts';
import { alternate, median, ratioOfPairs, type Spread } from './statistics.ts';
import { startTraining } from './training.ts';

export interface AnalysisOptions extends MeasuredOptions {
  readonly pairs: number;
  /** Of each epoch. */
  readonly steps: number;
}

export interface AnalysisResult extends Measured {
  readonly engine: string;
  /** Pairs. */
  readonly n: number;
  /** Steps in an epoch. */
  readonly steps: number;
  /** By pair, the whole epoch. */
  readonly plainMilliseconds: readonly number[];
  readonly analysisMilliseconds: readonly number[];
  /** Median, part of the analysis epoch: ranking and choosing layers, once an epoch however long it is. */
  readonly choiceMilliseconds: number;
  /** Analysis / plain, over the pairs. */
  readonly ratio: Spread;
  readonly peakBytes: number;
  readonly devicePeakBytes: DeviceMemory | null;
}

/**
 * @param report called after each pair with a line of progress.
 * @throws UsageError as `gradamp train`.
 */
export async function benchAnalysis(
  options: AnalysisOptions,
  report: (line: string) => void,
): Promise<AnalysisResult> {
  const { pairs, steps } = options;
  const config = measuredConfig(options, {});
  const training = await startTraining(config, steps);
  try {
    const epoch = (analysed: boolean) => () => training.ask({ kind: 'epoch', analysed });
    await epoch(true)();
    const { a, b } = await alternate(pairs, epoch(true), epoch(false), (pair, analysis, plain) =>
      report(
        `pair ${pair + 1} of ${pairs}: analysis ${analysis.milliseconds.toFixed(0)} ms, ` +
          `plain ${plain.milliseconds.toFixed(0)} ms`,
      ),
    );
    const analysisMilliseconds = a.map(({ milliseconds }) => milliseconds);
    const plainMilliseconds = b.map(({ milliseconds }) => milliseconds);
    return {
      ...measuredOf(config),
      engine: training.introduction.engine.description,
      n: pairs,
      steps,
      plainMilliseconds,
      analysisMilliseconds,
      choiceMilliseconds: median(a.map(({ choiceMilliseconds }) => choiceMilliseconds)),
      ratio: ratioOfPairs(analysisMilliseconds, plainMilliseconds),
      peakBytes: Math.max(...[...a, ...b].map(({ peakBytes }) => peakBytes)),
      devicePeakBytes: a[a.length - 1].devicePeakBytes,
    };
  } finally {
    await training.end();
  }
}
