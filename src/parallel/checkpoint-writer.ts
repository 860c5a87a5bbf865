// Writes a run's checkpoints behind its back: training goes on as soon as there is a copy in memory.

/** Of each kind one may wait; a newer one takes its place. */
export type CheckpointKind = 'last' | 'best';

interface Waiting {
  readonly kind: CheckpointKind;
  readonly write: () => Promise<void>;
}

/** One write at a time. What fails is told, and kept until `settled`. */
export class CheckpointWriter {
  readonly #onFailure: (kind: CheckpointKind, error: Error) => void;
  readonly #failures = new Map<CheckpointKind, Error>();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(onFailure: (kind: CheckpointKind, error: Error) => void) {
    this.#onFailure = onFailure;
  }

  /** Returns at once. */
  submit(kind: CheckpointKind, write: () => Promise<void>): void {
    this.#waiting = [...this.#waiting.filter((waiting) => waiting.kind !== kind), { kind, write }];
    this.#running ??= this.#drain();
  }

  /**
   * When all that was submitted is on the disk.
   * @throws Error of the newest write of a kind, where that failed.
   */
  async settled(): Promise<void> {
    await this.#running;
    for (const failure of this.#failures.values()) throw failure;
  }

  async #drain(): Promise<void> {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { kind, write } = next;
      try {
        await write();
        this.#failures.delete(kind);
      } catch (error) {
        this.#failures.set(kind, error as Error);
        this.#onFailure(kind, error as Error);
      }
    }
    this.#running = undefined;
  }
}
