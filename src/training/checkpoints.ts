// The checkpoints in a run's folder: the last one, and some of those before it.

import { createReadStream } from 'node:fs';
import { link, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Checkpoint,
  type CheckpointContent,
  CheckpointError,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import { writeDurably } from './durable.ts';
import { placeOf, type RunPlace, type RunProgress } from './run-state.ts';

/** The last one, which is the newest. */
export const LAST = 'checkpoint.msgpack';
/** That of the best validation epoch; its writing is not this module's. */
export const BEST = 'best.msgpack';

export interface RefusedCheckpoint {
  /** Name in the folder. */
  readonly file: string;
  readonly reason: string;
}

export interface FoundCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Name in the folder. */
  readonly file: string;
  /** Newer ones that cannot be read. */
  readonly refused: readonly RefusedCheckpoint[];
}

/** Where a run was found to stand in its folder. */
export interface RestoredCheckpoint extends Omit<FoundCheckpoint, 'checkpoint'> {
  readonly progress: RunProgress;
}

/** Writes the checkpoints of one run; one `write` at a time. */
export class Checkpoints {
  readonly #directory: string;
  readonly #keep: number;
  /** Of LAST, where it is known to be whole. */
  #last?: RunPlace;
  /** Names of files that cannot be read. */
  #refused: readonly string[];

  /**
   * @param keep how many stay, the last included; at least 1.
   * @param restored what the run goes on from, of this folder. Those that were refused are put aside, as `*.refused`.
   */
  constructor(directory: string, keep: number, restored?: RestoredCheckpoint) {
    this.#directory = directory;
    this.#keep = keep;
    this.#last = restored?.file === LAST ? placeOf(restored.progress) : undefined;
    this.#refused = restored?.refused.map(({ file }) => file) ?? [];
  }

  /**
   * Replaces the last one, which stays under a name by its position as long as it is among the `keep` newest.
   * @returns size of the file.
   * @throws what the system throws; the last one is as it was.
   */
  async write(content: CheckpointContent): Promise<{ bytes: number }> {
    const place = placeOf(content.progress);
    await this.#removeLeftovers();
    await this.#putAside();
    if (this.#keep > 1 && this.#last && compare(this.#last, place) !== 0) {
      await this.#keepLast(this.#last);
    }
    const written = await writeCheckpoint(this.#path(LAST), content);
    this.#last = place;
    await this.#removeOld();
    return written;
  }

  /** Another program, or somebody with a disk editor, may still read them. */
  async #putAside(): Promise<void> {
    for (const name of this.#refused) {
      await rename(this.#path(name), this.#path(`${name}.refused`)).catch(() => {});
    }
    this.#refused = [];
  }

  /** Of writes that were cut off. */
  async #removeLeftovers(): Promise<void> {
    const names = await readdir(this.#directory);
    await this.#remove(names.filter((name) => /^(checkpoint.*|best)\.msgpack\.tmp$/.test(name)));
  }

  /** A second name of the same bytes, or a copy; neither, where the disk has no room for it or will not have it. */
  async #keepLast(place: RunPlace): Promise<void> {
    const [from, to] = [this.#path(LAST), this.#path(nameOf(place))];
    try {
      // One of that name is of an attempt before the run went back.
      await rm(to, { force: true });
      await link(from, to).catch(() => writeDurably(to, createReadStream(from)));
    } catch {}
  }

  async #removeOld(): Promise<void> {
    const kept = keptAmong(await readdir(this.#directory));
    await this.#remove(kept.slice(this.#keep - 1));
  }

  async #remove(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => rm(this.#path(name), { force: true })));
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/**
 * The newest checkpoint of a run's folder that can be read.
 * @returns undefined where the folder holds none.
 * @throws CheckpointError with all reasons, where none of those that it holds can be read; else what the system throws
 * of the folder.
 */
export async function newestCheckpoint(directory: string): Promise<FoundCheckpoint | undefined> {
  const names = await readdir(directory);
  const candidates = [...names.filter((name) => name === LAST), ...keptAmong(names)];
  const refused: RefusedCheckpoint[] = [];
  for (const file of candidates) {
    try {
      return { checkpoint: await readCheckpoint(join(directory, file)), file, refused };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      refused.push({ file, reason: error.message });
    }
  }
  if (refused.length === 0) return undefined;
  const reasons = refused.map(({ file, reason }) => `${file}: ${reason}`);
  throw new CheckpointError(`expected a checkpoint that can be read, got ${reasons.join('; ')}`);
}

/** Of a file, by itself or by the system. */
const isRefusal = (error: unknown): error is Error =>
  error instanceof CheckpointError || (error instanceof Error && 'syscall' in error);

const nameOf = ({ epoch, step }: RunPlace): string =>
  `checkpoint-${String(epoch).padStart(4, '0')}-${String(step).padStart(6, '0')}.msgpack`;

/** Above 0 where `a` is further. */
const compare = (a: RunPlace, b: RunPlace): number => a.epoch - b.epoch || a.step - b.step;

/** Names of kept checkpoints, newest first. */
function keptAmong(names: readonly string[]): readonly string[] {
  return names
    .flatMap((name) => {
      const [, epoch, step] = /^checkpoint-(\d{4,})-(\d{6,})\.msgpack$/.exec(name) ?? [];
      return epoch === undefined ? [] : [{ name, epoch: Number(epoch), step: Number(step) }];
    })
    .sort((a, b) => compare(b, a))
    .map(({ name }) => name);
}
