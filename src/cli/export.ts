// `gradamp export <run>`: the weights of a run as a file that other programs read.

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { oneLine } from '../config/messages.ts';
import { classesOf } from '../data/layout.ts';
import { UsageError } from '../errors.ts';
import { buildModel } from '../models/index.ts';
import { stateTensors } from '../models/state-dict.ts';
import { writeDurably } from '../training/durable.ts';
import { encodeWeights } from '../training/weights-file.ts';
import { choice } from './arguments.ts';
import { formatCount } from './format.ts';
import { checkLengths, describeProgress, type RunWeights, readRun } from './run-weights.ts';

/** Beside the run's other files, where no other is named. */
const FILES: Record<RunWeights['which'], string> = { last: 'weights.safetensors', best: 'best.safetensors' };

interface ExportOptions {
  readonly best?: boolean;
  readonly out?: string;
}

export function exportCommand(): Command {
  return new Command('export')
    .description("write a run's weights and running statistics as a file that PyTorch loads")
    .argument('<run>', 'the folder of a run, for example runs/quickstart/amplified')
    .addOption(choice('--format <name>', 'of the file', ['safetensors']).default('safetensors'))
    .option('--best', 'the weights of the best validation epoch in place of the last')
    .option('--out <file>', `the file (default: ${FILES.last} or ${FILES.best} in the run's folder)`)
    .action(async (run: string, options: ExportOptions) => {
      process.stdout.write(`${await exportRun(run, options)}\n`);
    });
}

/**
 * Replaces the file where there is one.
 * @returns a line that says what was written.
 * @throws UsageError where the folder holds no run, its files do not fit each other, or the file cannot be written.
 */
export async function exportRun(run: string, { best, out }: ExportOptions = {}): Promise<string> {
  const read = await readRun(run, best ? 'best' : 'last');
  const { config, trainedOn } = read;
  const graph = buildModel({ ...config.model, classes: classesOf(config.dataset) });
  checkLengths(run, graph, read);
  const { width } = config.model;
  const bytes = encodeWeights(graph, read, { width, normalisation: trainedOn.normalisation });
  const file = out ?? join(run, FILES[read.which]);
  await replaceFile(file, bytes);
  const tensors = formatCount(stateTensors(graph).length);
  return `wrote ${file}: ${graph.name} after ${describeProgress(read)}, ${tensors} tensors, ${formatCount(bytes.length)} bytes`;
}

async function replaceFile(file: string, bytes: Uint8Array): Promise<void> {
  if (file.trim() === '') throw new UsageError('--out: expected the path of a file, got an empty one');
  if (existsSync(file) && !statSync(file).isFile()) {
    throw new UsageError(`${file}: expected the path of a file, found something else there`);
  }
  try {
    await writeDurably(file, [bytes]);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: 'cannot be written; expected a name in a folder that is there',
      ENOTDIR: 'cannot be written; expected a name in a folder that is there',
      EACCES: 'may not be written; check the permissions of its folder',
    };
    throw new UsageError(oneLine(`${file}: ${reasons[code ?? ''] ?? `cannot be written (${message})`}`));
  }
}
