// `gradamp bench many`: several small runs at once.

import { Command } from 'commander';
import type { ManyOptions, ManyResult } from '../../bench/many.ts';
import { listOf, wholeNumber } from './arguments.ts';
import {
  addMeasuredOptions,
  addOutputOptions,
  describeMeasured,
  formatDeviceMemory,
  nameMeasured,
  type OutputOptions,
  reportProgress,
  tell,
} from './bench-options.ts';
import { formatBytes, formatRate } from './format.ts';
import { type Column, formatTable } from './table.ts';

const LARGEST_RUNS = 64;

export function benchManyCommand(): Command {
  const command = new Command('many')
    .description('time several runs at once, each a process, and what they train together')
    .option('--runs <list>', 'how many at once', listOf(wholeNumber(1, LARGEST_RUNS)), [1, 2, 4])
    .option('--samples <n>', 'measurements, whose median is told', wholeNumber(1), 5)
    .option(
      '--steps <n>',
      'steps of a run in a measurement (default: as many as 1 s holds, on a GPU 0.3 s)',
      wholeNumber(1),
    );
  return addOutputOptions(addMeasuredOptions(command)).action(
    async ({ json, save, ...options }: ManyOptions & OutputOptions) => {
      const { benchMany } = await import('../../bench/many.ts');
      const result = await benchMany(options, reportProgress);
      await tell(nameMeasured('many', result), result, describeMany, { json, save });
    },
  );
}

function describeMany(result: ManyResult): string {
  const { engine, n, steps, rows } = result;
  const columns: Column[] = [
    { title: 'runs', align: 'right' },
    { title: 'images/s', align: 'right' },
    { title: 'range' },
    { title: 'gain', align: 'right' },
    { title: 'memory', align: 'right' },
    { title: 'on the device', align: 'right' },
  ];
  const cells = rows.map(({ runs, imagesPerSecond, gain, peakBytes, devicePeakBytes }) => [
    String(runs),
    formatRate(imagesPerSecond.median),
    `${formatRate(imagesPerSecond.smallest)} to ${formatRate(imagesPerSecond.largest)}`,
    gain.toFixed(2),
    formatBytes(peakBytes),
    formatDeviceMemory(devicePeakBytes),
  ]);
  return [
    `Runs at once, each: ${describeMeasured(result)}, ${engine}.`,
    `All of them together; median of n = ${n} times ${steps} steps of each.`,
    '',
    formatTable(columns, cells),
  ].join('\n');
}
