// A worker that serves as the real one does, but computes nothing, and stops for ever at a call of its engine: its set-up's
// `hang` says which rank, at which call of what, and how.

import { readFileSync } from 'node:fs';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Trainer } from '../../dist/src/parallel/trainer.js';

const WAYS = {
  sleep: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  spin: () => {
    for (;;);
  },
  /** In a call that no signal of the thread ends: until somebody writes to the pipe. */
  read: ({ pipe }) => readFileSync(pipe),
  exhaust: () => {
    const held = [];
    for (;;) held.push(Array(1000).fill(held.length));
  },
};

function hanging({ setup: { rank, hang } }) {
  const counts = { start: 0, gradient: 0, update: 0, evaluate: 0 };
  return (at) => {
    counts[at]++;
    if (hang && at === hang.at && counts[at] === hang.call && (hang.rank ?? rank) === rank)
      WAYS[hang.how](hang);
  };
}

export default async function serve(task) {
  const { setup, port } = task;
  const reach = hanging(task);
  const engine = {
    name: 'fake',
    description: 'none',
    updateKernels: {
      update: () => reach('update'),
      squaredNorms: (_parts, _ranges, norms) => norms.fill(0),
      allFinite: () => true,
    },
    createReplica: ({ allGather }) => ({
      gradient() {
        reach('gradient');
        allGather?.(Float64Array.of(0));
        return { lossSum: 0, correct: 0 };
      },
      evaluate() {
        reach('evaluate');
        return { lossSum: 0, correct: 0, predictions: new Int32Array() };
      },
      memory: () => ({ tensors: 0, bytes: 0 }),
      dispose: () => {},
    }),
  };
  let trainer;
  await new Promise((resolve) => {
    const controls = {
      start: async () => {
        reach('start');
        trainer = await Trainer.create(setup, engine);
      },
      train: (order) => trainer.train(order),
      evaluate: (part) => trainer.evaluate(part),
      close: resolve,
    };
    Comlink.expose(controls, nodeEndpoint(port));
  });
  trainer?.dispose();
  port.close();
}
