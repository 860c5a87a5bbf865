// A run is a folder of small files. Anything that plots or compares reads these, never the process. They follow from
// what the run remembers: a run that goes on writes them anew from its checkpoint.

import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Selection } from '../amplification/selection.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { AppendFile, type AppendObserver } from './append-file.ts';
import { csvLine } from './csv.ts';
import { isDiskFull, syncFolder, writeDurably } from './durable.ts';
import { eventFileName } from './event-file.ts';
import { asUsageError, exists, makeFolders, nearestExisting } from './folder.ts';
import { RunLog } from './log.ts';
import type { EpochMetrics, EpochTimings, RunSummary } from './metrics.ts';
import { isRunLock } from './run-lock.ts';
import type { RunProgress } from './run-state.ts';
import { TensorBoardLog } from './tensorboard.ts';

/** Told once an outage, however many files it befalls. */
export type DiskListener = (message: string) => void;

/** What a folder holds that a run may be started or resumed in. Of an unfinished run at least the config is there. */
export type FolderContent = 'nothing' | 'complete' | 'unfinished' | 'something-else';

export class RunDirectory {
  readonly path: string;
  readonly log: RunLog;
  readonly #onDisk: DiskListener;
  readonly #files = new Map<string, AppendFile>();
  readonly #observer: AppendObserver;
  readonly #tensorboard: TensorBoardLog;
  #hasColumns = false;

  /** @param resumedAt the epoch that a run goes on with. */
  private constructor(path: string, onDisk: DiskListener, resumedAt?: number) {
    this.path = resolve(path);
    this.#onDisk = onDisk;
    this.#observer = this.#watchDisk();
    this.log = new RunLog(this.#open('log.jsonl'));
    const events = eventFileName(readdirSync(path), Date.now() / 1000);
    this.#tensorboard = new TensorBoardLog(this.#open(events), resumedAt);
  }

  /** @throws UsageError where the folder is not empty or cannot be made or written. Writes nothing. */
  static check(path: string): void {
    if (path.trim() === '') throw new UsageError('--out: expected the path of a folder, got an empty one');
    try {
      const existing = nearestExisting(path);
      if (!statSync(existing).isDirectory()) {
        throw new UsageError(
          `${path}: expected a folder, but ${existing} is a file; choose another with --out`,
        );
      }
      if (existing === resolve(path) && filesOf(existing).length > 0) {
        throw new UsageError(
          `${path}: expected a new or empty folder for the run, got one that holds files; remove it or choose another with --out`,
        );
      }
      accessSync(existing, constants.W_OK | constants.X_OK);
    } catch (error) {
      throw asUsageError(path, error);
    }
  }

  /** @throws UsageError where the folder cannot be read. */
  static holds(path: string): FolderContent {
    try {
      if (!exists(path)) return 'nothing';
      if (!statSync(path).isDirectory()) return 'something-else';
      const files = filesOf(path);
      if (files.length === 0) return 'nothing';
      if (!files.includes('config.yaml')) return 'something-else';
      return files.includes('summary.json') && isComplete(join(path, 'summary.json'))
        ? 'complete'
        : 'unfinished';
    } catch (error) {
      throw asUsageError(path, error);
    }
  }

  /**
   * @param onDisk by default, only the log tells of a full disk.
   * @throws UsageError as `check`.
   */
  static create(path: string, configText: string, onDisk: DiskListener = () => {}): RunDirectory {
    RunDirectory.check(path);
    const config = join(path, 'config.yaml');
    try {
      makeFolders(path);
      // On the disk before the first checkpoint is: without it the folder is no run.
      writeFileSync(config, configText, { flush: true });
      return new RunDirectory(path, onDisk);
    } catch (error) {
      rmSync(config, { force: true });
      throw asUsageError(path, error);
    }
  }

  /**
   * The folder of a run that goes on from `progress`: its files hold these epochs and no others, as if it had never
   * been interrupted; the log and the event files keep what they have. Behind a fault on the way it can be done again.
   * @throws UsageError where the folder cannot be written.
   */
  static async reopen(
    path: string,
    configText: string,
    progress: Pick<RunProgress, 'history' | 'timings' | 'selections'>,
    onDisk: DiskListener = () => {},
  ): Promise<RunDirectory> {
    try {
      // First, and for good: from here on the run is not complete.
      for (const name of ['summary.json', ...REPLACED.map((file) => `${file}.tmp`)]) {
        await rm(join(path, name), { force: true });
      }
      await syncFolder(path);
      await rewriteConfig(join(path, 'config.yaml'), configText);
      const directory = new RunDirectory(path, onDisk, progress.history.length + 1);
      await directory.#restore(progress);
      return directory;
    } catch (error) {
      throw asUsageError(path, error);
    }
  }

  get name(): string {
    return basename(this.path);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** A complete epoch: metrics.jsonl and .csv, timings.jsonl, TensorBoard's file and the log. */
  appendEpoch(metrics: EpochMetrics, timings: EpochTimings): void {
    this.#open('metrics.jsonl').append(jsonLine(metrics));
    this.#open('metrics.csv').append(this.#hasColumns ? csvRow(metrics) : csvTable([metrics]));
    this.#hasColumns = true;
    this.#open('timings.jsonl').append(jsonLine(timings));
    this.#tensorboard.epoch(metrics, timings);
    this.log.epoch(metrics, timings);
    for (const file of this.#files.values()) file.retry();
  }

  appendSelection(selection: Selection): void {
    this.#open('selections.jsonl').append(jsonLine(selection));
    this.#tensorboard.selection(selection);
    this.log.selection(selection);
  }

  /**
   * The last of a run: the summary stands in the folder only when all other files are complete on the disk.
   * @throws Error as `finish`.
   */
  async writeSummary(summary: RunSummary): Promise<void> {
    this.log.end(summary);
    this.finish();
    try {
      await writeDurably(this.file('summary.json'), [Buffer.from(`${JSON.stringify(summary, null, 2)}\n`)]);
    } catch (error) {
      throw incomplete(this.path, ['summary.json'], error);
    }
  }

  /** Brings all that has been told to the disk. @throws Error that names the files that the system refuses. */
  finish(): void {
    for (const file of this.#files.values()) file.retry();
    const refused = new Map<string, unknown>();
    for (const [name, file] of this.#files) {
      try {
        file.flush();
      } catch (error) {
        refused.set(name, error);
      }
    }
    const [first] = refused.values();
    if (refused.size > 0) throw incomplete(this.path, [...refused.keys()], first);
  }

  /** What the files of recorded gradients hold: name, shape, first element and size of every tensor. */
  writeGradientLayout({ parameterLength, layers }: Graph): void {
    mkdirSync(this.file('gradients'), { recursive: true });
    const tensors = layers.flatMap(({ parameters }) =>
      parameters.map(({ name, shape, offset, size }) => ({ name, shape, offset, size })),
    );
    const layout = { dtype: 'float32', length: parameterLength, convolutions: 'OHWI', tensors };
    writeFileSync(this.file('gradients/layout.json'), `${JSON.stringify(layout, null, 2)}\n`);
  }

  #open(name: string): AppendFile {
    const file = this.#files.get(name) ?? new AppendFile(this.file(name), this.#observer);
    this.#files.set(name, file);
    return file;
  }

  /** A file of nothing is no file, as in a run that has come no further. */
  async #restore({
    history,
    timings,
    selections,
  }: Pick<RunProgress, 'history' | 'timings' | 'selections'>): Promise<void> {
    const texts = {
      'metrics.jsonl': jsonLines(history),
      'metrics.csv': csvTable(history),
      'timings.jsonl': jsonLines(timings),
      'selections.jsonl': jsonLines(selections),
    };
    for (const [name, text] of Object.entries(texts)) {
      const path = this.file(name);
      if (text === '') await rm(path, { force: true });
      else this.#files.set(name, await AppendFile.replacing(path, text, this.#observer));
    }
    await syncFolder(this.path);
    this.#hasColumns = history.length > 0;
  }

  /** An outage is from the first file that the system refuses until all are complete. */
  #watchDisk(): AppendObserver {
    const failing = new Set<string>();
    return {
      onFailure: (file, error) => {
        failing.add(file);
        if (failing.size > 1) return;
        const { message } = error;
        const what = isDiskFull(error) ? 'disk full' : 'cannot write';
        this.#onDisk(
          `${what}: ${file}: ${message}; training goes on; what is not written is kept in memory and written as soon as there is space`,
        );
        this.log.diskFull(basename(file), message);
      },
      onRecovery: (file) => {
        failing.delete(file);
        if (failing.size > 0) return;
        this.#onDisk(`${this.path}: what was kept in memory is written`);
        this.log.diskRecovered();
      },
    };
  }
}

/** A process that was killed may have left one half written beside each. */
const REPLACED = [
  ...['config.yaml', 'summary.json'],
  ...['metrics.jsonl', 'metrics.csv', 'timings.jsonl', 'selections.jsonl'],
];

const jsonLine = (line: object) => `${JSON.stringify(line)}\n`;
const jsonLines = (lines: readonly object[]) => lines.map(jsonLine).join('');
const csvRow = (metrics: EpochMetrics) => csvLine(Object.values(metrics));

/** The keys of the first line are the columns of all. */
function csvTable(history: readonly EpochMetrics[]): string {
  if (history.length === 0) return '';
  return [csvLine(Object.keys(history[0])), ...history.map(csvRow)].join('');
}

const filesOf = (path: string) => readdirSync(path).filter((name) => !isRunLock(name));

/** A summary that cannot be read is none. */
function isComplete(summary: string): boolean {
  try {
    return JSON.parse(readFileSync(summary, 'utf8')).stopped === false;
  } catch {
    return false;
  }
}

/** Without need of space where nothing changes. */
async function rewriteConfig(file: string, text: string): Promise<void> {
  if (exists(file) && readFileSync(file, 'utf8') === text) return;
  await writeDurably(file, [Buffer.from(text)]);
}

function incomplete(path: string, names: readonly string[], cause: unknown): Error {
  const { message } = cause as Error;
  return new Error(
    `${path}: expected to complete ${names.join(', ')}, got ${message}; make space and resume the run, whose last checkpoint holds what is missing`,
    { cause },
  );
}
