// Writes a run's checkpoints behind its back: training goes on as soon as there is a copy in memory.

import type { RunPlace } from '../training/run-state.ts';

/** A checkpoint that is to be written. */
export interface CheckpointTarget extends RunPlace {
  /** Name in the run's folder. */
  readonly file: string;
}

export interface CheckpointFailure extends CheckpointTarget {
  readonly error: Error;
  /** The one before it of this file failed, too. */
  readonly repeated: boolean;
}

interface Waiting {
  readonly target: CheckpointTarget;
  readonly write: () => Promise<void>;
}

/**
 * One write at a time; of each file one may wait, and a newer one takes its place. One that failed waits for what comes
 * next, whichever file that is of.
 */
export class CheckpointWriter {
  readonly #onFailure: (failure: CheckpointFailure) => void;
  /** By file, of the newest write. */
  readonly #failures = new Map<string, Error>();
  readonly #written = new Map<string, CheckpointTarget>();
  #waiting: readonly Waiting[] = [];
  /** To be tried again. */
  #failed: readonly Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(onFailure: (failure: CheckpointFailure) => void) {
    this.#onFailure = onFailure;
  }

  /** Returns at once. A failure is told, and tried again with the next of any file. */
  submit(target: CheckpointTarget, write: () => Promise<void>): void {
    this.#start([...this.#failed, { target, write }]);
  }

  #start(writes: readonly Waiting[]): void {
    this.#failed = [];
    for (const write of writes) {
      const others = this.#waiting.filter(({ target }) => target.file !== write.target.file);
      this.#waiting = [...others, write];
    }
    this.#running ??= this.#drain();
  }

  /** Whether the last write of the file was this one, and went well; once `idle`. */
  holds({ file, epoch, step }: CheckpointTarget): boolean {
    const written = this.#written.get(file);
    return written?.epoch === epoch && written.step === step;
  }

  /** When nothing is being written. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /**
   * When all that was submitted is on the disk; what failed is tried once more.
   * @throws Error of the newest write of a file, where that failed.
   */
  async settled(): Promise<void> {
    await this.idle();
    this.#start(this.#failed);
    await this.idle();
    for (const [file, error] of this.#failures) {
      throw new Error(
        `${file} could not be written: ${error.message}; the one before it stays, from which --resume goes on`,
        {
          cause: error,
        },
      );
    }
  }

  async #drain(): Promise<void> {
    for (let next = this.#next(); next; next = this.#next()) {
      const { target, write } = next;
      try {
        await write();
        this.#failures.delete(target.file);
        this.#written.set(target.file, target);
      } catch (cause) {
        const error = cause instanceof Error ? cause : new Error(String(cause));
        const repeated = this.#failures.has(target.file);
        this.#failures.set(target.file, error);
        const newerWaits = this.#waiting.some((waiting) => waiting.target.file === target.file);
        if (!newerWaits) this.#failed = [...this.#failed, next];
        this.#onFailure({ ...target, error, repeated });
      }
    }
    this.#running = undefined;
  }

  #next(): Waiting | undefined {
    const [first, ...others] = this.#waiting;
    this.#waiting = others;
    return first;
  }
}
