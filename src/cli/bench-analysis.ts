// `gradamp bench analysis`: what measuring gradients costs.

import { Command } from 'commander';
import type { AnalysisOptions, AnalysisResult } from '../../bench/analysis.ts';
import { wholeNumber } from './arguments.ts';
import {
  addMeasuredOptions,
  addOutputOptions,
  describeMeasured,
  formatDeviceMemory,
  formatMilliseconds,
  nameMeasured,
  type OutputOptions,
  reportProgress,
  tell,
} from './bench-options.ts';
import { formatBytes } from './format.ts';

export function benchAnalysisCommand(): Command {
  const command = new Command('analysis')
    .description('time an analysis epoch over a plain one')
    .option('--pairs <n>', 'pairs of epochs, in turn', wholeNumber(1), 5)
    .option('--steps <n>', 'steps of an epoch', wholeNumber(1), 20);
  return addOutputOptions(addMeasuredOptions(command)).action(
    async ({ json, save, ...options }: AnalysisOptions & OutputOptions) => {
      const { benchAnalysis } = await import('../../bench/analysis.ts');
      const result = await benchAnalysis(options, reportProgress);
      await tell(nameMeasured('analysis', result), result, describeAnalysis, { json, save });
    },
  );
}

function describeAnalysis(result: AnalysisResult): string {
  const { engine, n, steps, ratio, choiceMilliseconds, peakBytes, devicePeakBytes } = result;
  const onDevice = devicePeakBytes ? `, on the device ${formatDeviceMemory(devicePeakBytes)}` : '';
  return [
    `Analysis epoch over a plain one: ${describeMeasured(result)}, ${engine}.`,
    `Epochs of ${steps} steps, the choice of layers included, evaluation not; n = ${n} alternating pairs.`,
    '',
    `${ratio.median.toFixed(3)} times as long (median; ${ratio.smallest.toFixed(3)} to ${ratio.largest.toFixed(3)}), of which ` +
      `${formatMilliseconds(choiceMilliseconds)} ms once an epoch for the choice; peak memory ${formatBytes(peakBytes)}${onDevice}.`,
    '',
  ].join('\n');
}
