// `gradamp bench leak`: whether memory stays flat over many steps.

import { Command } from 'commander';
import type { LeakOptions, LeakResult } from '../../bench/leak.ts';
import { LARGEST_WIDTH } from '../config/schema.ts';
import { modelNames } from '../models/index.ts';
import { choice, collect, positiveNumber, wholeNumber } from './arguments.ts';
import { addOutputOptions, type OutputOptions, reportProgress, tell } from './bench-options.ts';
import { formatBytes, formatCount, formatNumberOf } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchLeakCommand(): Command {
  const command = new Command('leak')
    .description('run many steps on one thread and see what memory they leave behind')
    .option('--steps <n>', 'steps measured, after some to warm up', wholeNumber(100), 2000)
    .addOption(choice('--model <name>', 'model', modelNames).default('resnet8'))
    .option('--width <factor>', 'multiply every channel count', positiveNumber(LARGEST_WIDTH), 0.25)
    .option('--batch <n>', 'images a step', wholeNumber(1), 8)
    .addOption(choice('--engine <name>', 'engine', ['auto', 'torch', 'tfjs']).default('auto'))
    .addOption(choice('--backend <name>', 'of engine tfjs', ['wasm', 'cpu', 'tensorflow']).default('wasm'))
    .option('--set <key=value>', 'any other key of a config, for example threads=1', collect, []);
  return addOutputOptions(command).action(async ({ json, save, ...options }: LeakOptions & OutputOptions) => {
    const { benchLeak } = await import('../../bench/leak.ts');
    const result = await benchLeak(options, ({ step, residentBytes }) =>
      reportProgress(`step ${step}: ${formatBytes(residentBytes)}`),
    );
    await tell(`leak ${result.model} batch ${result.batch} steps ${result.steps}`, result, describeLeak, {
      json,
      save,
    });
    if (!result.flat) process.exitCode = 1;
  });
}

/** Of the samples, that many parts of the steps are shown. */
const PARTS = 10;

function describeLeak(result: LeakResult): string {
  const { model, width, batch, steps, engine, samples, residentBytesPerStep, flat } = result;
  const columns: Column[] = [
    { title: 'step', align: 'right' },
    { title: 'tensors', align: 'right' },
    { title: 'tensor bytes', align: 'right' },
    { title: 'wasm heap', align: 'right' },
    { title: 'resident', align: 'right' },
  ];
  const last = samples.length - 1;
  const shown = new Set(Array.from({ length: PARTS + 1 }, (_, part) => Math.round((part * last) / PARTS)));
  const rows = [...shown].map((index) => {
    const { step, tensors, tensorBytes, heapBytes, residentBytes } = samples[index];
    const mebibytes = `${(residentBytes / 2 ** 20).toFixed(1)} MiB`;
    return [formatCount(step), String(tensors), String(tensorBytes), formatBytes(heapBytes), mebibytes];
  });
  const scaled = width === 1 ? '' : `, width ${width}`;
  return [
    `${formatNumberOf(steps, 'step')} after the warm-up: ${model}${scaled}, batch ${batch}, ${engine}.`,
    '',
    formatTable(columns, rows),
    '',
    `The resident set grew by ${residentBytesPerStep.toFixed(1)} bytes a step, by least squares.`,
    flat ? 'Memory is flat.' : 'Memory grows: see --json for every hundredth step.',
  ].join('\n');
}
