// The words that workers and coordinator share beside the numbers: a barrier, abort and pause requests, flags of
// non-finite gradients, progress, where everybody is. Integers under Atomics; the coordinator only reads, asks and never
// waits.

import { createWhereabouts, type Place, Whereabouts } from './whereabouts.ts';

const ARRIVED = 0;
const GENERATION = 1;
const ABORT = 2;
const REQUEST = 3;
const PAUSE_AGREED = 4;
const FLAGS = 8;

/** What REQUEST holds: nothing; a pause of the step loop; or that and the end of an evaluation. */
const NONE = 0;
const PAUSE = 1;
const STOP = 2;

const PROGRESS_FIELDS = 4;
/** How long a waiting worker sleeps at most before it looks at the abort word, in milliseconds. */
const POLL_INTERVAL = 100;

/** The run ends because another worker failed: not a cause of its own. */
export class AbortedError extends Error {
  override readonly name = 'AbortedError';
}

export interface ControlBuffers {
  readonly words: Int32Array;
  readonly progress: Float64Array;
  /** By what the workers' devices find each other, where they are a group. */
  readonly groupId: Uint8Array;
  readonly whereabouts: Int32Array;
}

/** Bytes of NCCL's. */
const GROUP_ID_LENGTH = 128;

/** Sums of one worker over the current epoch. */
export interface WorkerProgress {
  readonly steps: number;
  readonly samples: number;
  readonly lossSum: number;
  readonly correct: number;
}

export function createControlBuffers(worldSize: number): ControlBuffers {
  return {
    words: new Int32Array(new SharedArrayBuffer(4 * (FLAGS + worldSize))),
    progress: new Float64Array(new SharedArrayBuffer(8 * PROGRESS_FIELDS * worldSize)),
    groupId: new Uint8Array(new SharedArrayBuffer(GROUP_ID_LENGTH)),
    whereabouts: createWhereabouts(worldSize),
  };
}

export class Control {
  readonly worldSize: number;
  readonly #groupId: Uint8Array;
  readonly #words: Int32Array;
  readonly #progress: Float64Array;
  readonly whereabouts: Whereabouts;
  readonly #rank?: number;

  /** @param rank of the worker that it belongs to, which then tells where it is. */
  constructor({ words, progress, groupId, whereabouts }: ControlBuffers, rank?: number) {
    this.whereabouts = new Whereabouts(whereabouts);
    this.#rank = rank;
    this.#groupId = groupId;
    this.#words = words;
    this.#progress = progress;
    this.worldSize = words.length - FLAGS;
  }

  /**
   * Blocks the calling worker until all have arrived. Everything written before it is seen by all behind it.
   * @throws AbortedError when the run was aborted.
   */
  barrier(): void {
    this.#waits(true);
    this.#meet();
    this.#waits(false);
  }

  #meet(): void {
    const words = this.#words;
    const generation = Atomics.load(words, GENERATION);
    if (Atomics.add(words, ARRIVED, 1) === this.worldSize - 1) {
      Atomics.store(words, ARRIVED, 0);
      Atomics.add(words, GENERATION, 1);
      Atomics.notify(words, GENERATION);
    } else {
      while (Atomics.load(words, GENERATION) === generation) {
        if (this.aborted) throw new AbortedError('another worker failed');
        Atomics.wait(words, GENERATION, generation, POLL_INTERVAL);
      }
    }
    if (this.aborted) throw new AbortedError('another worker failed');
  }

  #waits(waiting: boolean): void {
    if (this.#rank !== undefined) this.whereabouts.wait(this.#rank, waiting);
  }

  /** Tells where this worker is; epoch and step as before where they are not given. */
  enter(place: Place, at?: { readonly epoch: number; readonly step: number }): void {
    if (this.#rank !== undefined) this.whereabouts.enter(this.#rank, place, at);
  }

  /** What rank 0 made, known to all. Every worker calls it. */
  shareGroupId(rank: number, make: () => Uint8Array): Uint8Array {
    if (rank === 0) this.#groupId.set(make());
    this.barrier();
    return this.#groupId.slice();
  }

  /** Lets no worker pass a barrier any more. */
  abort(): void {
    Atomics.store(this.#words, ABORT, 1);
    Atomics.notify(this.#words, GENERATION);
  }

  get aborted(): boolean {
    return Atomics.load(this.#words, ABORT) === 1;
  }

  /** Asks the workers to return from the epoch after the step they are in. */
  requestPause(): void {
    Atomics.compareExchange(this.#words, REQUEST, NONE, PAUSE);
  }

  /** While no worker is in a step. A stop stays. */
  withdrawPause(): void {
    Atomics.compareExchange(this.#words, REQUEST, PAUSE, NONE);
  }

  /** A pause for good, which ends evaluations too. */
  requestStop(): void {
    Atomics.store(this.#words, REQUEST, STOP);
  }

  get stopRequested(): boolean {
    return Atomics.load(this.#words, REQUEST) === STOP;
  }

  /**
   * Called by rank 0 before the barrier in front of an update, so that all workers agree on the step: a request that
   * comes later counts for the next one.
   */
  proposePause(): void {
    Atomics.store(this.#words, PAUSE_AGREED, Atomics.load(this.#words, REQUEST) === NONE ? 0 : 1);
  }

  /** Between the barriers around an update: whether this step is the last before a pause. */
  get pauseAgreed(): boolean {
    return Atomics.load(this.#words, PAUSE_AGREED) === 1;
  }

  /** Before the barrier in front of an update: whether this worker's gradient has a NaN or infinity. */
  setNonFinite(rank: number, nonFinite: boolean): void {
    Atomics.store(this.#words, FLAGS + rank, nonFinite ? 1 : 0);
  }

  /** Between the barriers around an update. */
  get anyNonFinite(): boolean {
    for (let rank = 0; rank < this.worldSize; rank++) {
      if (Atomics.load(this.#words, FLAGS + rank)) return true;
    }
    return false;
  }

  report(rank: number, { steps, samples, lossSum, correct }: WorkerProgress): void {
    this.#progress.set([steps, samples, lossSum, correct], rank * PROGRESS_FIELDS);
    this.whereabouts.sign(rank);
  }

  /** All workers together; `steps` of the slowest. May mix two steps: for display only. */
  get progress(): WorkerProgress {
    const total = { steps: Number.POSITIVE_INFINITY, samples: 0, lossSum: 0, correct: 0 };
    for (let rank = 0; rank < this.worldSize; rank++) {
      const [steps, samples, lossSum, correct] = this.#progress.subarray(rank * PROGRESS_FIELDS);
      total.steps = Math.min(total.steps, steps);
      total.samples += samples;
      total.lossSum += lossSum;
      total.correct += correct;
    }
    return total;
  }

  clearProgress(): void {
    this.#progress.fill(0);
  }
}
