// The compiled program as a child process, and small runs for it.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { synthesize } from '../../src/data/synthetic.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Program {
  readonly child: ChildProcess;
  /** Of this process: those that it started may live on. */
  readonly ended: Promise<End>;
}

/** Starts `gradamp` with a folder as its working directory. */
export function start(folder: string, ...options: readonly string[]): Program {
  return launch(folder, options, false);
}

/** The same as the first of a group of processes, to which a signal can be sent as a whole. */
export function startGroup(folder: string, ...options: readonly string[]): Program {
  return launch(folder, options, true);
}

/**
 * The same on a terminal of its own, by util-linux' `script`: where that is killed, the terminal is closed. The
 * program's exit code is then in the folder's file `code`.
 */
export function startOnTerminal(folder: string, ...options: readonly string[]): ChildProcess {
  const words = [process.execPath, MAIN, ...options].map((word) => `'${word}'`).join(' ');
  // The shell in parentheses outlives the terminal.
  const command = `(trap '' HUP; ${words}; echo $? > code); true`;
  return spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd: folder,
    env: { ...process.env, SHELL: '/bin/sh' },
    stdio: 'ignore',
  });
}

function launch(folder: string, options: readonly string[], detached: boolean): Program {
  if (!existsSync(MAIN)) throw new Error('expected a build; run `npm test`, or `npm run build` before');
  const child = spawn(process.execPath, [MAIN, ...options], {
    cwd: folder,
    detached,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      texts[name] += text;
    });
  }
  const ended = new Promise<End>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, ...texts }));
  });
  return { child, ended };
}

/** Runs `gradamp` to its end. */
export const gradamp = (folder: string, ...options: readonly string[]): Promise<End> =>
  start(folder, ...options).ended;

/** When `condition` holds. @throws Error where the program ends before, or a minute does. */
export async function until(
  { child }: Pick<Program, 'child'>,
  what: string,
  condition: () => boolean,
): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended && !condition()) throw new Error(`expected ${what}, got the end of the program`);
    if (Date.now() > deadline) throw new Error(`expected ${what} within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** For a test that starts several processes, beside whatever else the machine does. */
export const PATIENCE = { timeout: 240_000 };

/** Four epochs of six steps, about a second of training; epoch 3 is analysed, 4 amplified. */
const CONFIG = `model: { name: resnet8, width: 0.125 }
dataset: cifar10
dataDir: data
engine: tfjs
batchSize: 10
microBatch: 5
schedule: [[2, 0.05, false, 1], [4, 0.05, true, 2]]
amplification: { threshold: 0.5 }
`;

/** A new folder with images and `run.yaml`, the config above and `more` lines. */
export async function folderOfRuns(more = ''): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-cli-'));
  await synthesize({ dataset: 'cifar10', directory: join(folder, 'data'), seed: 5, train: 60, test: 20 });
  writeFileSync(join(folder, 'run.yaml'), `${CONFIG}${more}`);
  return folder;
}

export const removeFolder = (folder: string) => rmSync(folder, { recursive: true });

/** The run's folder as tests look at it, now and again. */
export function runIn(directory: string) {
  const text = (file: string) => {
    const path = join(directory, file);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const lines = (file: string) => text(file).split('\n').slice(0, -1);
  return {
    directory,
    text,
    /** Complete epochs that metrics.jsonl tells of. */
    epochs: () => lines('metrics.jsonl').length,
    /** Events of log.jsonl. */
    log: (event: string) =>
      lines('log.jsonl')
        .map((line) => JSON.parse(line))
        .filter((line) => line.event === event),
    /** What it holds, but for times and locks. */
    files: () => (existsSync(directory) ? readdirSync(directory).sort() : []),
    file: (name: string) => join(directory, name),
  };
}
