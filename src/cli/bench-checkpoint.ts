// `gradamp bench checkpoint`: writing and reading checkpoints against the speed of the disk.

import { Command } from 'commander';
import type { CheckpointBenchOptions, CheckpointResult } from '../../bench/checkpoint.ts';
import { LARGEST_WIDTH } from '../config/schema.ts';
import { modelNames } from '../models/index.ts';
import { choice, positiveNumber, wholeNumber } from './arguments.ts';
import {
  addOutputOptions,
  formatMilliseconds,
  type OutputOptions,
  reportProgress,
  tell,
} from './bench-options.ts';
import { formatBytes, formatCount, formatPercent } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchCheckpointCommand(): Command {
  const command = new Command('checkpoint')
    .description('time writing and reading a checkpoint over plain writes and reads of as many bytes')
    .addOption(choice('--model <name>', 'model', modelNames).default('resnet101'))
    .option('--width <factor>', 'multiply every channel count', positiveNumber(LARGEST_WIDTH), 1)
    .option('--pairs <n>', 'pairs of each, in turn', wholeNumber(1), 5)
    .option(
      '--dir <folder>',
      "on the disk to be measured (default: build, or the system's folder for temporary files)",
    );
  return addOutputOptions(command).action(
    async ({ json, save, ...options }: CheckpointBenchOptions & OutputOptions) => {
      const { benchCheckpoint } = await import('../../bench/checkpoint.ts');
      const result = await benchCheckpoint(options, reportProgress);
      const { model, width } = result;
      const name = `checkpoint ${model}${width === 1 ? '' : ` width ${width}`}`;
      await tell(name, result, describeCheckpoint, { json, save });
    },
  );
}

function describeCheckpoint(result: CheckpointResult): string {
  const { model, width, parameters, dir, n, bytes, numberBytes, chunkBytes, cold, rows } = result;
  const columns: Column[] = [
    { title: 'checkpoint' },
    { title: 'ms', align: 'right' },
    { title: 'MB/s', align: 'right' },
    { title: 'plain MB/s', align: 'right' },
    { title: 'share', align: 'right' },
    { title: 'range' },
  ];
  const cells = rows.map(({ what, megabytesPerSecond, plainMegabytesPerSecond, share }) => [
    what,
    formatMilliseconds(bytes / megabytesPerSecond / 1e3),
    megabytesPerSecond.toFixed(0),
    plainMegabytesPerSecond.toFixed(0),
    formatPercent(share.median),
    `${formatPercent(share.smallest)} to ${formatPercent(share.largest)}`,
  ]);
  return [
    `Checkpoint of ${model}${width === 1 ? '' : `, width ${width}`}, ${formatCount(parameters)} parameters with momentum: ` +
      `${formatCount(bytes)} bytes, ${(bytes / numberBytes).toFixed(5)} times its numbers; in ${dir}.`,
    `Median of n = ${n} alternating pairs; plain: sequential, ${formatBytes(chunkBytes)} at a time, flushed and renamed.`,
    cold
      ? 'Reads are from the disk: what the system remembered of the files was dropped before each.'
      : 'Reads are from memory, on both sides: the page cache was warm, since only root can drop it.',
    '',
    formatTable(columns, cells),
    '',
    `read: the plain one keeps ${formatBytes(chunkBytes)} of it; read into memory: it keeps all, as the checkpoint's does.`,
  ].join('\n');
}
