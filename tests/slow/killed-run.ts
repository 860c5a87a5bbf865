// A run of the command line that is killed (SIGKILL) at chosen kinds of moments and started again with the same command,
// until it is complete; and what of its folder must be as if nothing had happened.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, type FSWatcher, readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { synthesize } from '../../src/data/synthetic.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

/** Epochs 1, 2 and 12 are plain, 3 and 8 analysed, the others amplified, and 5 measured again meanwhile. */
const SCHEDULE = '[[2, 0.05, false, 1], [7, 0.05, true, 2], [11, 0.02, true, 2], [12, 0.01, false, 1]]';
const EPOCHS = 12;
const PLAIN = [1, 2, 12];
const ANALYSED = [3, 5, 8];

/** In an epoch of this kind, as a choice of layers is written, or in the middle of writing a checkpoint. */
export const MOMENTS = ['plain', 'analysis', 'amplified', 'selection', 'checkpoint'] as const;
export type Moment = (typeof MOMENTS)[number];

export interface KilledRunOptions {
  readonly engine: 'tfjs' | 'torch';
  readonly workers: number;
  /** Holds the data and the runs. */
  readonly folder: string;
}

/** Images, and a config that writes a checkpoint every 0.1 s. */
export async function prepare({ engine, workers, folder }: KilledRunOptions): Promise<void> {
  if (!existsSync(join(folder, 'data'))) {
    const sizes = { train: 300, test: 60 };
    await synthesize({ dataset: 'cifar10', directory: join(folder, 'data'), seed: 7, ...sizes });
  }
  const devices = `[${Array(workers).fill('cpu').join(', ')}]`;
  const lines = [
    'model: { name: resnet8, width: 0.5 }',
    'dataset: cifar10',
    'dataDir: data',
    'validation: 40',
    `engine: ${engine}`,
    `devices: ${devices}`,
    'threads: 1',
    'batchSize: 20',
    'microBatch: 5',
    `schedule: ${SCHEDULE}`,
    'amplification: { threshold: 0.5, reselect: 2 }',
    'resume: auto',
    'checkpoint: { everyMinutes: 0.0016, keep: 3 }',
  ];
  writeFileSync(join(folder, `${engine}-${workers}.yaml`), `${lines.join('\n')}\n`);
}

/** Starts the run, or goes on with it. */
export function start(options: KilledRunOptions, name: string, ...more: string[]): ChildProcess {
  const { engine, workers, folder } = options;
  const command = ['train', `${engine}-${workers}.yaml`, '--out', name, ...more];
  return spawn(process.execPath, [MAIN, ...command], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export function ended(child: ChildProcess): Promise<End> {
  let stderr = '';
  child.stderr?.on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
}

/** What a kill met. */
export interface Kill {
  readonly moment: Moment;
  /** Of the complete epochs that the folder tells of. */
  readonly epoch: number;
  /** A part of a checkpoint lay there. */
  readonly duringWrite: boolean;
}

/**
 * Starts the run and kills it at a moment of the kind.
 * @param random 0..1, where in an epoch.
 * @returns undefined where the run was complete before.
 */
export async function killAt(
  options: KilledRunOptions,
  name: string,
  moment: Moment,
  random: number,
): Promise<Kill | undefined> {
  const directory = join(options.folder, name);
  const child = start(options, name);
  const end = ended(child);
  const cancel = onMoment(directory, moment, random, () => child.kill('SIGKILL'));
  const { code, signal, stderr } = await end;
  cancel();
  if (code === 0) return undefined;
  if (signal !== 'SIGKILL')
    throw new Error(`expected the run to be killed, it ended with code ${code}: ${stderr}`);
  const duringWrite = existsSync(join(directory, 'checkpoint.msgpack.tmp'));
  return { moment, epoch: completeEpochs(directory), duringWrite };
}

/** Calls back once, when the folder says that the moment is there. */
function onMoment(directory: string, moment: Moment, random: number, callback: () => void): () => void {
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let fired = false;
  const fire = (delay: number) => {
    if (fired) return;
    fired = true;
    if (delay === 0) callback();
    else timer = setTimeout(callback, delay);
  };
  const look = (file: string | null) => {
    if (moment === 'checkpoint') {
      if (file === 'checkpoint.msgpack.tmp') fire(0);
    } else if (moment === 'selection') {
      if (file === 'selections.jsonl' && started) fire(0);
    } else if (file === 'metrics.jsonl' || file === 'config.yaml' || file === 'log.jsonl') {
      if (kindOf(completeEpochs(directory) + 1) === moment) fire(1 + random * EPOCH_MILLISECONDS);
    }
  };
  // What reopening the folder writes is no moment of training.
  let started = false;
  const wait = setInterval(() => {
    if (!existsSync(directory)) return;
    clearInterval(wait);
    watcher = watch(directory, (_, file) => look(file));
    setTimeout(() => {
      started = true;
    }, 400);
  }, 1);
  return () => {
    clearInterval(wait);
    clearTimeout(timer);
    watcher?.close();
  };
}

/** About as long as an epoch takes. */
const EPOCH_MILLISECONDS = 300;

function kindOf(epoch: number): Moment | undefined {
  if (epoch > EPOCHS) return undefined;
  if (PLAIN.includes(epoch)) return 'plain';
  return ANALYSED.includes(epoch) ? 'analysis' : 'amplified';
}

function completeEpochs(directory: string): number {
  const file = join(directory, 'metrics.jsonl');
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
}

/** Runs to the end. @throws Error where that fails. */
export async function complete(options: KilledRunOptions, name: string, ...more: string[]): Promise<void> {
  const { code, stderr } = await ended(start(options, name, ...more));
  if (code !== 0) throw new Error(`expected the run to be complete, it ended with code ${code}: ${stderr}`);
}

/** What a run gives again to the bit: text files, and the vectors of its checkpoints. */
export async function outcome({ folder }: KilledRunOptions, name: string) {
  const text = (file: string) => readFileSync(join(folder, name, file), 'utf8');
  const vectors = async (file: string) => {
    const { vectors, progress } = await readCheckpoint(join(folder, name, file));
    return { ...vectors, epoch: progress.history.length, step: progress.step };
  };
  return {
    metrics: text('metrics.jsonl'),
    csv: text('metrics.csv'),
    selections: text('selections.jsonl'),
    last: await vectors('checkpoint.msgpack'),
    best: await vectors('best.msgpack'),
  };
}
