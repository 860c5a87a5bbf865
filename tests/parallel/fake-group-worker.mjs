// A worker that serves as the real one does, but whose device is a fake one in a group of three: it computes nothing, and
// notes in shared memory what becomes of it. With `dies` in its set-up, rank 1 throws in its first step.

import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Trainer } from '../../dist/src/parallel/trainer.js';

/** By what they are noted as; resident-group.test.ts reads them. */
const EVENTS = ['id', 'joining', 'joined', 'recorded', 'replayed', 'abandoned', 'disposed'];
/** Far longer than a worker group waits for its workers, in milliseconds. */
const FOR_EVER = 10_000;

const sleep = (milliseconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

class Member {
  #note;
  #rank;
  #dies;
  #steps = 0;
  #abandoned = false;
  #barrier;

  constructor(note, rank, dies) {
    this.#note = note;
    this.#rank = rank;
    this.#dies = dies;
  }

  upload() {}
  download() {}
  begin() {}

  /** The higher the rank, the later it comes. */
  join(id, rank, worldSize, barrier) {
    if (id.some((byte, i) => byte !== i) || rank !== this.#rank || worldSize !== 3)
      throw new Error('not that group');
    this.#barrier = barrier;
    this.#note('joining');
    sleep(50 * rank);
    this.#note('joined');
  }

  /** Its first one is recorded as a graph. */
  step() {
    if (this.#dies && this.#rank === 1) throw new Error('out of something');
    if (this.#steps++ === 0) {
      sleep(50 * this.#rank);
      this.#note('recorded');
      this.#barrier();
      this.#note('replayed');
    }
    return this.totals();
  }

  totals() {
    return { lossSum: 0, correct: 0, samples: 0, iterations: this.#steps, skipped: 0, skippedInARow: 0 };
  }

  abandon() {
    this.#note('abandoned');
    this.#abandoned = true;
  }

  /** In a collective that not all have come to. */
  dispose() {
    if (this.#dies && !this.#abandoned) sleep(FOR_EVER);
    this.#note('disposed');
  }
}

export default async function serve({ setup, port }) {
  const { rank, log, dies } = setup;
  const note = (event) => {
    log[1 + Atomics.add(log, 0, 1)] = rank * EVENTS.length + EVENTS.indexOf(event);
  };
  const engine = {
    name: 'fake',
    description: 'none',
    createResidentReplica: () => new Member(note, rank, dies),
    makeGroupId() {
      note('id');
      return Uint8Array.from({ length: 128 }, (_, i) => i);
    },
  };
  let trainer;
  await new Promise((resolve) => {
    const start = async () => {
      trainer = await Trainer.create(setup, engine);
    };
    Comlink.expose({ start, train: (order) => trainer.train(order), close: resolve }, nodeEndpoint(port));
  });
  trainer.dispose();
  port.close();
}
