// A run of the command line that is killed (SIGKILL) at chosen kinds of moments and started again with the same command,
// until it is complete; and what of its folder must be as if nothing had happened.

import { existsSync, type FSWatcher, readFileSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { synthesize } from '../../src/data/synthetic.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import { gradamp, start } from '../cli/program.ts';

/** In an epoch of this kind, as a choice of layers is written, or in the middle of writing a checkpoint. */
export const MOMENTS = ['plain', 'analysis', 'amplified', 'selection', 'checkpoint'] as const;
export type Moment = (typeof MOMENTS)[number];

/** Epochs 1, 2 and 12 are plain, 3 and 8 analysed, 5 measured again meanwhile, and the others amplified. */
const SCHEDULE = '[[2, 0.05, false, 1], [7, 0.05, true, 2], [11, 0.02, true, 2], [12, 0.01, false, 1]]';
const EPOCHS = 12;
const PLAIN = [1, 2, 12];
const ANALYSED = [3, 5, 8];
const VALIDATION = 20;

export interface KilledRun {
  readonly engine: 'tfjs' | 'torch';
  readonly workers: number;
  /** Holds the data and the runs. */
  readonly folder: string;
  /** Of the model. */
  readonly width: number;
  /** To train on. */
  readonly images: number;
  /** How often in all. */
  readonly kills: number;
  /** In turn. One that the run is past comes in the next, which starts anew. */
  readonly moments: readonly Moment[];
  /** Of where in an epoch it is killed. */
  readonly seed: number;
}

/** What a kill met. */
interface Kill {
  readonly moment: Moment;
  /** Of the complete epochs that the folder told of. */
  readonly epoch: number;
  /** The moment was still there. */
  readonly met: boolean;
  /** A part of a checkpoint lay there. */
  readonly duringWrite: boolean;
}

/** The kills that runs have survived with the same bits as a whole one. */
export async function surviveKills(options: KilledRun): Promise<{ kills: readonly Kill[]; summary: string }> {
  const { engine, workers, folder, moments, seed } = options;
  await prepare(options);
  const whole = join(folder, `${engine}-${workers}-whole`);
  await complete(options, whole, '--set', 'checkpoint.everyMinutes=never');
  const expected = await outcome(whole);
  const milliseconds = epochMilliseconds(whole);
  const kills: Kill[] = [];
  const directory = (run: number) => join(folder, `${engine}-${workers}-killed-${run}`);
  let run = 0;
  for (let tries = 0; kills.length < options.kills; tries++) {
    if (tries > 3 * options.kills) throw new Error(`expected ${options.kills} kills, got ${kills.length}`);
    const moment = moments[kills.length % moments.length];
    const delay = 1 + 0.8 * random(seed + tries) * milliseconds;
    const kill = await killAt(options, directory(run), moment, delay);
    if (kill) kills.push(kill);
    else expect(await outcome(directory(run++))).toEqual(expected);
  }
  await complete(options, directory(run));
  expect(await outcome(directory(run))).toEqual(expected);
  return { kills, summary: describe(options, kills, run + 1) };
}

/** Images, and a config that writes a checkpoint every 0.1 s. */
async function prepare({ engine, workers, folder, width, images }: KilledRun): Promise<void> {
  if (!existsSync(join(folder, 'data'))) {
    const sizes = { train: images + VALIDATION, test: 20 };
    await synthesize({ dataset: 'cifar10', directory: join(folder, 'data'), seed: 7, ...sizes });
  }
  const devices = `[${Array(workers).fill('cpu').join(', ')}]`;
  const lines = [
    `model: { name: resnet8, width: ${width} }`,
    'dataset: cifar10',
    'dataDir: data',
    `validation: ${VALIDATION}`,
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

/** Starts the run, or goes on with it: the same words. */
const command = ({ engine, workers }: KilledRun, directory: string) =>
  ['train', `${engine}-${workers}.yaml`, '--out', directory] as const;

/** Runs to the end. @throws Error where that fails. */
async function complete(options: KilledRun, directory: string, ...more: string[]): Promise<void> {
  const { code, signal, stderr } = await gradamp(options.folder, ...command(options, directory), ...more);
  if (code !== 0) throw new Error(`expected a complete run, got its end by ${code ?? signal}: ${stderr}`);
}

/**
 * Goes on with the run and kills it at a moment of the kind.
 * @param delay into an epoch, in milliseconds.
 * @returns undefined where the run was complete before.
 */
async function killAt(
  options: KilledRun,
  directory: string,
  moment: Moment,
  delay: number,
): Promise<Kill | undefined> {
  const { child, ended } = start(options.folder, ...command(options, directory));
  const cancel = onMoment(directory, moment, delay, () => child.kill('SIGKILL'));
  const { code, signal, stderr } = await ended;
  cancel();
  if (code === 0) return undefined;
  if (signal !== 'SIGKILL')
    throw new Error(`expected the run to be killed, got its end by ${code ?? signal}: ${stderr}`);
  const epoch = completeEpochs(directory);
  const duringWrite = existsSync(join(directory, 'checkpoint.msgpack.tmp'));
  return { moment, epoch, met: meets(moment, { epoch, duringWrite }), duringWrite };
}

function meets(moment: Moment, { epoch, duringWrite }: Pick<Kill, 'epoch' | 'duringWrite'>): boolean {
  if (moment === 'checkpoint') return duringWrite;
  // Layers are chosen at the end of an analysis, whose metrics may be written by then or not.
  if (moment === 'selection') return [epoch, epoch + 1].some((near) => kindOf(near) === 'analysis');
  return kindOf(epoch + 1) === moment;
}

/** Calls back once, when the folder says that the moment is there. */
function onMoment(directory: string, moment: Moment, delay: number, callback: () => void): () => void {
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  const startsBefore = starts(directory);
  // What is written to reopen the folder is no moment of training.
  let training = false;
  const look = (file: string | null) => {
    if (timer) return;
    training ||= starts(directory) > startsBefore;
    if (!training) return;
    if (moment === 'checkpoint' || moment === 'selection') {
      const awaited = moment === 'checkpoint' ? 'checkpoint.msgpack.tmp' : 'selections.jsonl';
      if (file !== awaited) return;
      timer = setTimeout(() => {}, 0);
      callback();
    } else if (kindOf(completeEpochs(directory) + 1) === moment) {
      timer = setTimeout(callback, delay);
    }
  };
  const wait = setInterval(() => {
    if (!existsSync(directory)) return;
    clearInterval(wait);
    watcher = watch(directory, (_, file) => look(file));
  }, 1);
  return () => {
    clearInterval(wait);
    clearTimeout(timer);
    watcher?.close();
  };
}

function kindOf(epoch: number): Moment | undefined {
  if (epoch > EPOCHS) return undefined;
  if (PLAIN.includes(epoch)) return 'plain';
  return ANALYSED.includes(epoch) ? 'analysis' : 'amplified';
}

const textOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '');
const completeEpochs = (directory: string) => textOf(join(directory, 'metrics.jsonl')).split('\n').length - 1;
/** Processes that have come as far as training. */
const starts = (directory: string) => textOf(join(directory, 'log.jsonl')).split('"event":"start"').length;

/** How long an epoch of a whole run takes: the median. */
function epochMilliseconds(directory: string): number {
  const lines = readFileSync(join(directory, 'timings.jsonl'), 'utf8').trimEnd().split('\n');
  const seconds = lines.map((line) => JSON.parse(line).seconds).sort((a, b) => a - b);
  return 1000 * seconds[Math.floor(seconds.length / 2)];
}

/** What a run gives again to the bit: text files, and the vectors of its checkpoints. */
async function outcome(directory: string) {
  const text = (file: string) => readFileSync(join(directory, file), 'utf8');
  const vectors = async (file: string) => {
    const { vectors, progress } = await readCheckpoint(join(directory, file));
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

/** 0..1 by position: a multiplicative hash. */
const random = (position: number) => (Math.imul(position + 1, 0x9e3779b1) >>> 0) / 2 ** 32;

function describe({ engine, workers, moments, seed }: KilledRun, kills: readonly Kill[], runs: number) {
  const counts = moments.map((moment) => {
    const met = kills.filter((kill) => kill.moment === moment && kill.met);
    return `${met.length} ${moment}`;
  });
  const writes = kills.filter(({ duringWrite }) => duringWrite).length;
  const epochs = kills.map(({ epoch }) => epoch).join(' ');
  return `${engine}, ${workers} workers, seed ${seed}: ${kills.length} kills in ${runs} runs (${counts.join(', ')}; ${writes} with a part of a checkpoint on the disk); complete epochs at the kills: ${epochs}; all runs byte-identical`;
}
