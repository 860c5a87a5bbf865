// The worker threads of a run: starts one a device, calls them together, and turns the first failure of any of them
// into one error that names the rank.

import { createRequire } from 'node:module';
import { MessageChannel } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Piscina } from 'piscina';
import { UsageError } from '../errors.ts';
import { Control } from './control.ts';
import type { ReplicaControls, ReplicaTask } from './replica-controls.ts';
import type { TrainerSetup } from './trainer.ts';

/** A worker failed by itself: it threw, or its thread ended. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly rank: number;

  constructor(rank: number, device: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`worker ${rank} (${device}) failed: ${reason}`, { cause });
    this.rank = rank;
  }
}

/** Workers run compiled JavaScript, also when the caller is TypeScript under a test runner. */
const REPLICA_ENTRY = createRequire(import.meta.url).resolve('#replica-worker');

/** How long workers may take to finish what they are in before their threads are ended, in milliseconds. */
const CLOSE_GRACE = 2000;

export class WorkerGroup {
  readonly control: Control;
  readonly #pool: Piscina<ReplicaTask, void>;
  readonly #workers: readonly Comlink.Remote<ReplicaControls>[];
  readonly #tasks: readonly Promise<void>[];
  readonly #ports: readonly { close(): void }[];
  /** Rejects with the first failure; never resolves. */
  readonly #failure: Promise<never>;
  readonly #devices: readonly string[];

  /** `setups` by rank; they share one control block. `entry`: the module that a worker thread runs. */
  constructor(setups: readonly TrainerSetup[], entry: string = REPLICA_ENTRY) {
    this.control = new Control(setups[0].control);
    this.#devices = setups[0].config.devices;
    this.#pool = new Piscina<ReplicaTask, void>({
      filename: entry,
      minThreads: setups.length,
      maxThreads: setups.length,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // Its workers would block in Atomics.wait between tasks, deaf to comlink's messages.
      atomics: 'disabled',
    });
    const channels = setups.map(() => new MessageChannel());
    this.#ports = channels.map(({ port1 }) => port1);
    this.#workers = channels.map(({ port1 }) => Comlink.wrap<ReplicaControls>(nodeEndpoint(port1)));
    this.#tasks = setups.map((setup, rank) => {
      const port = channels[rank].port2;
      return this.#pool.run({ setup, port } satisfies ReplicaTask, { transferList: [port] });
    });
    this.#failure = new Promise((_, reject) => {
      for (const [rank, task] of this.#tasks.entries()) {
        task.catch((cause) => reject(new WorkerError(rank, this.#devices[rank], cause)));
      }
    });
    this.#failure.catch(() => {});
  }

  /**
   * One control call on every worker at once; results by rank.
   * @throws UsageError that a worker met; WorkerError with the rank of the first that failed. The group is then of
   * no use: `close` it.
   */
  async all<T>(call: (worker: Comlink.Remote<ReplicaControls>, rank: number) => Promise<T>): Promise<T[]> {
    const calls = this.#workers.map((worker, rank) =>
      call(worker, rank).catch((cause) => {
        throw this.#asFailure(rank, cause);
      }),
    );
    try {
      // A call to a dead worker never settles: its task's end does.
      return await Promise.race([Promise.all(calls), this.#failure]);
    } catch (error) {
      // The others wait for it at a barrier.
      this.control.abort();
      throw error;
    }
  }

  /** Ends all threads: politely, and after a grace period by force. */
  async close(): Promise<void> {
    for (const worker of this.#workers) worker.close().catch(() => {});
    await Promise.race([Promise.allSettled(this.#tasks), delay(CLOSE_GRACE)]);
    for (const port of this.#ports) port.close();
    await this.#pool.destroy();
  }

  #asFailure(rank: number, cause: unknown): Error {
    // Errors cross threads by their properties, not by their class.
    if (cause instanceof Error && cause.name === 'UsageError') return new UsageError(cause.message);
    return new WorkerError(rank, this.#devices[rank], cause);
  }
}

function delay(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds, undefined).unref());
}
