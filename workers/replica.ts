// Entry point of a worker thread: a Trainer behind comlink, alive until the coordinator closes it.

import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { recordingWarning } from '../src/parallel/record.ts';
import type { ReplicaControls, ReplicaTask } from '../src/parallel/replica-controls.ts';
import { Trainer } from '../src/parallel/trainer.ts';

/** The task lasts as long as the worker serves. */
export default async function serve({ setup, port }: ReplicaTask): Promise<void> {
  let trainer: Trainer | undefined;
  const started = () => {
    if (!trainer) throw new Error(`worker ${setup.rank} was called before it was started`);
    return trainer;
  };
  await new Promise<void>((resolve) => {
    const controls: ReplicaControls = {
      start: async () => {
        trainer = await Trainer.create(setup);
        return trainer.engine;
      },
      train: (order) => ({ ...started().train(order), unrecorded: recordingWarning(setup.directory) }),
      evaluate: (part) => started().evaluate(part),
      measure: () => started().measure(),
      publish: () => started().publish(),
      deviceMemory: () => started().deviceMemory(),
      close: resolve,
    };
    Comlink.expose(controls, nodeEndpoint(port));
  });
  trainer?.dispose();
  port.close();
}
