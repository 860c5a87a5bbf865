// Where each worker is in its work: words that it writes as it goes, for whoever wonders why nothing moves. Integers
// under Atomics; nobody waits for them.

/** In the order of their numbers; the first is that of a worker that was not heard of yet. */
const PLACES = [
  'starting',
  'idle',
  'beginning',
  'computing',
  'gathering',
  'before the update',
  'updating',
  'behind the update',
  'finishing',
  'evaluating',
  'measuring',
  'publishing',
] as const;

export type Place = (typeof PLACES)[number];

/** A worker as it was last heard of. */
export interface Sighting {
  readonly place: Place;
  /** From 1; 0 before the first one. */
  readonly epoch: number;
  /** Of the epoch, from 1: the one that it is in, or was in last. */
  readonly step: number;
  /** At a barrier. */
  readonly waiting: boolean;
}

const PLACE = 0;
const EPOCH = 1;
const STEP = 2;
const WAITING = 3;
const SIGNS = 4;
/** Words of a worker: as many as fill a cache line. */
const WORDS = 16;

export const createWhereabouts = (worldSize: number): Int32Array =>
  new Int32Array(new SharedArrayBuffer(4 * WORDS * worldSize));

export class Whereabouts {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Epoch and step stay as they were where they are not given. */
  enter(rank: number, place: Place, at?: { readonly epoch: number; readonly step: number }): void {
    if (at) {
      this.#set(rank, EPOCH, at.epoch);
      this.#set(rank, STEP, at.step);
    }
    this.#set(rank, PLACE, PLACES.indexOf(place));
    this.sign(rank);
  }

  wait(rank: number, waiting: boolean): void {
    this.#set(rank, WAITING, waiting ? 1 : 0);
    this.sign(rank);
  }

  /** Says that this worker moves. */
  sign(rank: number): void {
    Atomics.add(this.#words, rank * WORDS + SIGNS, 1);
  }

  /** Changes with every sign of life of any worker. */
  get signs(): number {
    let sum = 0;
    for (let at = SIGNS; at < this.#words.length; at += WORDS) sum += Atomics.load(this.#words, at);
    return sum;
  }

  /** By rank. */
  get sightings(): readonly Sighting[] {
    return Array.from({ length: this.#words.length / WORDS }, (_, rank) => {
      const [place, epoch, step, waiting] = [PLACE, EPOCH, STEP, WAITING].map((word) =>
        Atomics.load(this.#words, rank * WORDS + word),
      );
      return { place: PLACES[place], epoch, step, waiting: waiting === 1 };
    });
  }

  #set(rank: number, word: number, value: number): void {
    Atomics.store(this.#words, rank * WORDS + word, value);
  }
}
