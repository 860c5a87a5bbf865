// What coordinator and worker threads say to each other besides shared memory.

import type { MessagePort } from 'node:worker_threads';
import type { Trainer, TrainerSetup } from './trainer.ts';

/** What piscina is given for a worker: its set-up and the port on which it is controlled. */
export interface ReplicaTask {
  readonly setup: TrainerSetup;
  readonly port: MessagePort;
}

/** The control calls of a worker, as comlink offers them to the coordinator. `start` comes first. */
export type ReplicaControls = Pick<Trainer, 'train' | 'evaluate' | 'measure' | 'publish' | 'deviceMemory'> & {
  /** Loads the engine and puts the model on the device. */
  start(): Promise<Trainer['engine']>;
  close(): void;
};
