// What the benchmarks' commands share: the options that say what is measured, and how a result is told and kept.

import type { Command } from 'commander';
import type { Measured } from '../../bench/measured.ts';
import { LARGEST_WIDTH, PRECISIONS } from '../config/schema.ts';
import type { DeviceMemory } from '../engines/engine.ts';
import { modelNames } from '../models/index.ts';
import { choice, collect, positiveNumber, wholeNumber } from './arguments.ts';
import { formatBytes, formatNumberOf } from './format.ts';

export interface OutputOptions {
  readonly json?: boolean;
  /** A folder; `true` where none was named. */
  readonly save?: string | true;
}

const RESULTS_FOLDER = 'bench/results';
const LARGEST_WORKERS = 1024;

export function addModelOptions(command: Command): Command {
  return command
    .addOption(choice('--model <name>', 'model', modelNames).default('resnet20'))
    .option('--width <factor>', 'multiply every channel count', positiveNumber(LARGEST_WIDTH), 1);
}

export const addWorkersOption = (command: Command): Command =>
  command.option('--workers <n>', 'worker threads', wholeNumber(1, LARGEST_WORKERS), 1);

/** What `measuredConfig` reads. */
export function addMeasuredOptions(command: Command): Command {
  return addPlaceOptions(
    addWorkersOption(addModelOptions(command)).option(
      '--batch <n>',
      'images a step, over all workers',
      wholeNumber(1),
      64,
    ),
  ).option(
    '--set <key=value>',
    'any other key of a config, for example microBatch=32 (repeatable)',
    collect,
    [],
  );
}

/** Where and how it computes. */
export function addPlaceOptions(command: Command): Command {
  return command
    .addOption(
      choice('--device <name>', 'of the workers; cuda: cuda:0, cuda:1, ...', ['cpu', 'cuda']).default('cpu'),
    )
    .addOption(choice('--engine <name>', 'engine', ['auto', 'torch', 'tfjs']).default('auto'))
    .addOption(choice('--backend <name>', 'of engine tfjs', ['wasm', 'cpu', 'tensorflow']).default('wasm'))
    .addOption(choice('--precision <name>', 'of all arithmetic (default: float32)', PRECISIONS));
}

export function addOutputOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option(
      '--save [folder]',
      `write the JSON to a folder (default: ${RESULTS_FOLDER}), named by device and date`,
    );
}

export const reportProgress = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/** Prints a result, as JSON or in words, and keeps it where that was asked for. */
export async function tell<Result>(
  what: string,
  result: Result,
  describe: (result: Result) => string,
  { json, save }: OutputOptions,
): Promise<void> {
  const { provenance, saveResult } = await import('../../bench/results.ts');
  const document = { ...provenance(what), ...result };
  if (save) reportProgress(`saved: ${saveResult(save === true ? RESULTS_FOLDER : save, document)}`);
  const { processor, cores } = document.machine;
  const { gradamp, commit, node } = document.versions;
  const place = `${processor}, ${cores} cores; gradamp ${gradamp}${commit ? ` (${commit})` : ''}, Node ${node}.`;
  const text = json ? JSON.stringify(document, null, 2) : `${describe(result)}\n${place}`;
  process.stdout.write(`${text}\n`);
}

/** `resnet20, width 0.5, batch 64, float32, 2 workers (cpu) of 1 thread`; of GPUs without the threads. */
export function describeMeasured({
  model,
  width,
  batch,
  precision,
  devices,
  workers,
  threads,
}: Measured): string {
  const scaled = width === 1 ? '' : `, width ${width}`;
  const group = `${formatNumberOf(workers, 'worker')} (${[...new Set(devices)].join(', ')})`;
  const of = devices[0] === 'cpu' ? ` of ${formatNumberOf(threads, 'thread')}` : '';
  return `${model}${scaled}, batch ${batch}, ${precision}, ${group}${of}`;
}

/** What a result is called, as part of a file's name. */
export function nameMeasured(what: string, { model, width, batch, workers, precision }: Measured): string {
  const scaled = width === 1 ? '' : ` width ${width}`;
  const reduced = precision === 'float32' ? '' : ` ${precision}`;
  return `${what} ${model}${scaled} batch ${batch}${reduced} workers ${workers}`;
}

/** What the devices had to give, where they have memory of their own. */
export const formatDeviceMemory = (peak: DeviceMemory | null): string =>
  peak ? formatBytes(peak.reservedPeak) : '-';

/** `1.234` below 10, `12.3` below 100, `123`: milliseconds. */
export function formatMilliseconds(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 10 ? 3 : milliseconds < 100 ? 1 : 0);
}
