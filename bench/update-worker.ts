// A worker thread of `gradamp bench update`: repeats what it is told to between barriers and answers with the time.

import { parentPort, workerData } from 'node:worker_threads';
import { loadAddon } from '../src/engines/torch/load.ts';
import { Control } from '../src/parallel/control.ts';
import { kernelUpdater } from '../src/training/kernel-update.ts';
import { update } from '../src/training/update.ts';
import { streamKernel } from './stream-kernel.ts';
import type { UpdateOrder, UpdateWorkerSetup, Work } from './update.ts';

const { control: buffers, vectors, segments, streams } = workerData as UpdateWorkerSetup;
const control = new Control(buffers);
const options = {
  ...{ learningRate: 1e-9, momentum: 0.9, weightDecay: 5e-4, nesterov: false },
  ...{ clipScale: 1, measureWeightDecay: false },
};
function passOf(work: Work): () => void {
  switch (work) {
    case 'typescript':
      return () => update(vectors, segments, options);
    case 'native': {
      const native = kernelUpdater(loadAddon());
      return () => native.update(vectors, segments, options);
    }
    case 'floor':
      return streamKernel(streams).pass;
    default:
      return work satisfies never;
  }
}

const passes = new Map<Work, () => void>();

parentPort!.on('message', ({ work, repetitions }: UpdateOrder) => {
  const pass = passes.get(work) ?? passOf(work);
  passes.set(work, pass);
  control.barrier();
  const started = performance.now();
  for (let i = 0; i < repetitions; i++) {
    pass();
    control.barrier();
  }
  parentPort!.postMessage(performance.now() - started);
});
