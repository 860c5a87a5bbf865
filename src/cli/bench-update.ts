// `gradamp bench update`: the update of the flat vector against the bandwidth of memory.

import { Command } from 'commander';
import type { UpdateBenchOptions, UpdateResult } from '../../bench/update.ts';
import { wholeNumber } from './arguments.ts';
import {
  addModelOptions,
  addOutputOptions,
  addWorkersOption,
  formatMilliseconds,
  type OutputOptions,
  reportProgress,
  tell,
} from './bench-options.ts';
import { formatBytes, formatCount, formatNumberOf, formatPercent } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchUpdateCommand(): Command {
  const command = new Command('update')
    .description('time the update of the weights, and the bandwidth floor on equal working sets')
    .option('--parameters <n>', "so many in one tensor, in place of the model's", wholeNumber(1))
    .option('--analysis', 'with the accumulators of an analysis epoch', false)
    .option('--samples <n>', 'measurements, whose median is told', wholeNumber(1), 5);
  return addOutputOptions(addWorkersOption(addModelOptions(command))).action(
    async ({ json, save, ...options }: UpdateBenchOptions & OutputOptions) => {
      const { benchUpdate } = await import('../../bench/update.ts');
      const result = await benchUpdate(options, reportProgress);
      const { model, parameters, workers, analysis } = result;
      const name = `update ${model ?? parameters} workers ${workers}${analysis ? ' analysis' : ''}`;
      await tell(name, result, describeUpdate, { json, save });
    },
  );
}

function describeUpdate(result: UpdateResult): string {
  const { model, parameters, workers, analysis, n, traffic, floor, rows } = result;
  const columns: Column[] = [
    { title: 'update' },
    { title: 'ms', align: 'right' },
    { title: 'GB/s', align: 'right' },
    { title: 'share of the floor', align: 'right' },
  ];
  const cells = rows.map(({ updater, medianMilliseconds, share }) => [
    updater,
    formatMilliseconds(medianMilliseconds),
    (traffic / medianMilliseconds / 1e6).toFixed(1),
    formatPercent(share.median),
  ]);
  const bottom = [
    'floor',
    formatMilliseconds(floor.medianMilliseconds),
    floor.gigabytesPerSecond.toFixed(1),
    '100.0%',
  ];
  return [
    `Update of ${formatCount(parameters)} parameters${model ? ` (${model})` : ''}, ${formatNumberOf(workers, 'worker')}` +
      `${analysis ? ', with the accumulators of an analysis' : ''}: ${formatBytes(traffic)} read and written.`,
    `Median of n = ${n} samples of a tenth of a second or more, in turn; a barrier behind each pass.`,
    '',
    formatTable(columns, [...cells, bottom]),
    '',
    'floor: as many streams of the same size, read and written by as many threads, in WebAssembly SIMD.',
  ].join('\n');
}
