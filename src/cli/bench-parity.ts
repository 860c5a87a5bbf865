// `gradamp bench parity`: our gradients beside PyTorch's, by model and precision.

import { Command } from 'commander';
import type { ParityOptions, ParityResult } from '../../bench/parity.ts';
import type { ModelName } from '../config/schema.ts';
import { PRECISIONS, type Precision } from '../config/schema.ts';
import { modelNames } from '../models/index.ts';
import { choice, listOf, oneOf } from './arguments.ts';
import { addOutputOptions, type OutputOptions, reportProgress, tell } from './bench-options.ts';
import { type Column, formatTable } from './table.ts';

export function benchParityCommand(): Command {
  const command = new Command('parity')
    .description("compare gradients with PyTorch's, both against float64; exit code 1 where ours are too far")
    .option('--models <list>', `any of ${modelNames.join(',')}`, listOf(oneOf<ModelName>(modelNames)), [
      'resnet8',
      'resnet18',
      'resnet50',
    ])
    .option('--precisions <list>', `any of ${PRECISIONS.join(',')}`, listOf(oneOf<Precision>(PRECISIONS)), [
      'float32',
    ])
    .addOption(choice('--device <name>', 'cuda: cuda:0', ['cpu', 'cuda']).default('cpu'))
    .addOption(choice('--engine <name>', 'engine', ['auto', 'torch', 'tfjs']).default('auto'))
    .option('--python <program>', 'a Python with torch (default: python3, else /usr/bin/python3)');
  return addOutputOptions(command).action(
    async ({ json, save, ...options }: ParityOptions & OutputOptions) => {
      const { benchParity } = await import('../../bench/parity.ts');
      const result = await benchParity(options, reportProgress);
      await tell('parity', result, describeParity, { json, save });
      if (!result.fine) process.exitCode = 1;
    },
  );
}

function describeParity({ device, torch, batch, rows }: ParityResult): string {
  const columns: Column[] = [
    { title: 'model' },
    { title: 'precision' },
    { title: 'ours', align: 'right' },
    { title: 'PyTorch', align: 'right' },
    { title: 'allowed', align: 'right' },
    { title: '' },
    { title: 'whole, ours', align: 'right' },
    { title: 'PyTorch', align: 'right' },
  ];
  const cells = rows.map(({ model, precision, ours, theirs, limit, fine, whole }) => [
    ...[model, precision],
    ...[ours, theirs, limit].map((error) => error.toExponential(1)),
    fine ? 'fine' : 'TOO FAR',
    ...[whole.ours, whole.theirs].map((error) => error.toExponential(1)),
  ]);
  return [
    `Gradients on ${device}, relative L2 distance from torch ${torch} in float64, of narrow models, batch ${batch}.`,
    '',
    formatTable(columns, cells),
    '',
    'In a reduced precision compared in the last layer; the whole gradient, whose ReLUs rounding decides, is for information.',
  ].join('\n');
}
