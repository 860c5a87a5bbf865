// `gradamp bench`: how fast a step is, and whether memory stays flat.

import { Command } from 'commander';
import type { LeakResult } from '../../bench/leak.ts';
import type { StepOptions, StepResult, VariantResult } from '../../bench/step.ts';
import { LARGEST_WIDTH } from '../config/schema.ts';
import { modelNames } from '../models/index.ts';
import { choice, positiveNumber, wholeNumber } from './arguments.ts';
import { formatBytes, formatRate } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchCommand(): Command {
  return new Command('bench')
    .description('measure this machine')
    .addCommand(stepCommand())
    .addCommand(leakCommand());
}

function stepCommand(): Command {
  return new Command('step')
    .description('time the gradient of one batch on one thread')
    .addOption(choice('--model <name>', 'model', modelNames).default('resnet20'))
    .option('--width <factor>', 'multiply every channel count', positiveNumber(LARGEST_WIDTH), 1)
    .option('--batch <n>', 'images a step', wholeNumber(1), 64)
    .addOption(choice('--backend <name>', 'backend of engine tfjs', ['wasm', 'cpu']).default('wasm'))
    .option('--pairs <n>', 'steps measured, after some to warm up', wholeNumber(1), 5)
    .addOption(choice('--against <path>', 'alternate with the plain wasm path', ['plain']))
    .option('--json', 'print JSON')
    .action(async ({ json, ...options }: StepOptions & { json?: boolean }) => {
      // Loaded only now, as in `train`: tfjs takes its time.
      const { benchStep } = await import('../../bench/step.ts');
      const result = await benchStep(options, (line) => process.stderr.write(`${line}\n`));
      process.stdout.write(`${json ? JSON.stringify(result, null, 2) : describeStep(result)}\n`);
    });
}

function describeStep(result: StepResult): string {
  const { model, width, batch, backend, pairs, device, node, tfjs, gradamp, plain } = result;
  const columns: Column[] = [
    { title: 'path' },
    { title: 'ms/step', align: 'right' },
    { title: 'images/s', align: 'right' },
    { title: 'GFLOP/s', align: 'right' },
    { title: 'peak memory', align: 'right' },
    { title: 'wasm heap', align: 'right' },
  ];
  const row = (name: string, measured: VariantResult) => [
    name,
    measured.medianMilliseconds.toFixed(0),
    formatRate(measured.imagesPerSecond),
    measured.gflops.toFixed(1),
    formatBytes(measured.peakBytes),
    formatBytes(measured.heapBytes),
  ];
  const lines = [
    `Gradient of one batch: ${model}, width ${width}, batch ${batch}, float32, backend ${backend}.`,
    `${device}; Node ${node}, tfjs ${tfjs}; median of n = ${pairs}${plain ? ' alternating pairs' : ' steps'}.`,
    '',
    formatTable(columns, [row('gradamp', gradamp), ...(plain ? [row('plain', plain)] : [])]),
  ];
  if (plain) {
    const { median, smallest, largest } = result.ratio!;
    const range = `${smallest.toFixed(2)} to ${largest.toFixed(2)} over the pairs`;
    lines.push(
      '',
      `gradamp is ${median.toFixed(2)} times as fast as plain (${range}); their gradients differ by ${result.gradientDifference!.toExponential(1)} (relative L2, at batch 2 and width ${Math.min(width, 1 / 16)}).`,
      `plain: stock kernels, batch norm of tf ops; ${plain.note}.`,
    );
  }
  return lines.join('\n');
}

function leakCommand(): Command {
  return new Command('leak')
    .description('run many steps and see what memory they leave behind')
    .option('--steps <n>', 'steps measured, after some to warm up', wholeNumber(100), 2000)
    .option('--json', 'print JSON')
    .action(async ({ steps, json }: { steps: number; json?: boolean }) => {
      const { benchLeak } = await import('../../bench/leak.ts');
      const result = await benchLeak({ steps }, ({ step, residentBytes }) => {
        process.stderr.write(`step ${step}: ${formatBytes(residentBytes)}\n`);
      });
      process.stdout.write(`${json ? JSON.stringify(result, null, 2) : describeLeak(result)}\n`);
      if (!result.flat) process.exitCode = 1;
    });
}

function describeLeak({ model, batch, steps, node, description, samples, flat }: LeakResult): string {
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
    `${steps} steps after the first ${samples[0].step}: ${model}, batch ${batch}, ${description}, Node ${node}.`,
    '',
    formatTable(columns, rows),
    '',
    flat ? 'Memory is flat.' : 'Memory grows: see --json for every hundredth step.',
  ].join('\n');
}
