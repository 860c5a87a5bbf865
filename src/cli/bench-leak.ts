// `gradamp bench leak`: whether memory stays flat over many steps.

import { Command } from 'commander';
import type { LeakResult } from '../../bench/leak.ts';
import { wholeNumber } from './arguments.ts';
import { addOutputOptions, type OutputOptions, reportProgress, tell } from './bench-options.ts';
import { formatBytes } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchLeakCommand(): Command {
  const command = new Command('leak')
    .description('run many steps and see what memory they leave behind')
    .option('--steps <n>', 'steps measured, after some to warm up', wholeNumber(100), 2000);
  return addOutputOptions(command).action(async ({ steps, ...output }: { steps: number } & OutputOptions) => {
    const { benchLeak } = await import('../../bench/leak.ts');
    const result = await benchLeak({ steps }, ({ step, residentBytes }) =>
      reportProgress(`step ${step}: ${formatBytes(residentBytes)}`),
    );
    await tell('leak', result, describeLeak, output);
    if (!result.flat) process.exitCode = 1;
  });
}

function describeLeak({ model, batch, steps, description, samples, flat }: LeakResult): string {
  const columns: Column[] = [
    { title: 'step', align: 'right' },
    { title: 'tensors', align: 'right' },
    { title: 'tensor bytes', align: 'right' },
    { title: 'wasm heap', align: 'right' },
    { title: 'resident', align: 'right' },
  ];
  const rows = [samples[0], samples[samples.length - 1]].map((sample) => [
    String(sample.step),
    String(sample.tensors),
    String(sample.tensorBytes),
    formatBytes(sample.heapBytes),
    formatBytes(sample.residentBytes),
  ]);
  return [
    `${steps} steps after the first ${samples[0].step}: ${model}, batch ${batch}, ${description}.`,
    '',
    formatTable(columns, rows),
    '',
    flat ? 'Memory is flat.' : 'Memory grows: see --json for every hundredth step.',
  ].join('\n');
}
