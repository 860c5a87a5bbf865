// What coordinator and worker threads say to each other besides shared memory.

import type { MessagePort } from 'node:worker_threads';
import type { EpochSums, Trainer, TrainerSetup } from './trainer.ts';

/** What piscina is given for a worker: its set-up and the port on which it is controlled. */
export interface ReplicaTask {
  readonly setup: TrainerSetup;
  readonly port: MessagePort;
}

/** The control calls of a worker, as comlink offers them to the coordinator. `start` comes first. */
export type ReplicaControls = Pick<Trainer, 'evaluate' | 'measure' | 'publish' | 'deviceMemory'> & {
  /** As a trainer does; `unrecorded` tells of gradients that were to be recorded and could not (record.ts). */
  train(order: Parameters<Trainer['train']>[0]): EpochSums & { readonly unrecorded?: string };
  /** Loads the engine and puts the model on the device. */
  start(): Promise<Trainer['engine']>;
  close(): void;
};
