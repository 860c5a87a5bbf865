// The worker threads of a run: starts one a device, calls them together, and turns the first failure of any of them, or
// its silence, into one error that names the rank.

import { createRequire } from 'node:module';
import { MessageChannel } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Piscina } from 'piscina';
import { UsageError } from '../errors.ts';
import { Control } from './control.ts';
import type { ReplicaControls, ReplicaTask } from './replica-controls.ts';
import type { TrainerSetup } from './trainer.ts';
import { watch } from './watch.ts';
import { failureOf, hangOf } from './worker-error.ts';

export { HungError, WorkerError } from './worker-error.ts';

/** Workers run compiled JavaScript, also when the caller is TypeScript under a test runner. */
const REPLICA_ENTRY = createRequire(import.meta.url).resolve('#replica-worker');

/** How long workers may take to finish what they are in before their threads are ended, in milliseconds. */
const CLOSE_GRACE = 2000;
/** How long their threads may take to be ended, in milliseconds: one in a native call cannot be before that returns. */
const END_GRACE = 3000;

export class WorkerGroup {
  readonly control: Control;
  readonly #pool: Piscina<ReplicaTask, void>;
  readonly #workers: readonly Comlink.Remote<ReplicaControls>[];
  readonly #tasks: readonly Promise<void>[];
  readonly #ports: readonly { close(): void }[];
  /** Rejects with the first failure; never resolves. */
  readonly #failure: Promise<never>;
  readonly #devices: readonly string[];
  /** Seconds without a sign of life of any worker before those that are missing count as hung. */
  readonly #timeout: number;
  #stuck = false;
  /** What this group ended with. */
  #error: unknown;

  /** `setups` by rank; they share one control block. `entry`: the module that a worker thread runs. */
  constructor(setups: readonly TrainerSetup[], entry: string = REPLICA_ENTRY) {
    this.control = new Control(setups[0].control);
    const { devices, barrierTimeout } = setups[0].config;
    this.#devices = devices;
    this.#timeout = barrierTimeout;
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
        task.catch((cause) => reject(this.#asFailure(rank, cause)));
      }
    });
    this.#failure.catch(() => {});
  }

  /**
   * One control call on every worker at once; results by rank.
   * @throws UsageError that a worker met; WorkerError with the rank of the first that failed; HungError where none of
   * them moves for `barrierTimeout`. The group is then of no use: `close` it.
   */
  async all<T>(call: (worker: Comlink.Remote<ReplicaControls>, rank: number) => Promise<T>): Promise<T[]> {
    const pending = new Set(this.#workers.keys());
    const calls = this.#workers.map((worker, rank) =>
      call(worker, rank)
        .catch((cause) => {
          throw this.#asFailure(rank, cause);
        })
        .finally(() => pending.delete(rank)),
    );
    const { hung, endWatch } = this.#watch(pending);
    try {
      // A call to a dead worker never settles: its task's end does.
      return await Promise.race([Promise.all(calls), this.#failure, hung]);
    } catch (error) {
      this.#error = error;
      // The others wait for it at a barrier.
      this.control.abort();
      throw error;
    } finally {
      endWatch();
    }
  }

  /** Rejects when nothing moves any more, though the workers of some ranks are to do something. */
  #watch(pending: ReadonlySet<number>): { hung: Promise<never>; endWatch: () => void } {
    const { whereabouts } = this.control;
    let endWatch = () => {};
    const hung = new Promise<never>((_, reject) => {
      const onHang = () => {
        const { sightings } = whereabouts;
        reject(hangOf({ sightings, devices: this.#devices, pending, timeout: this.#timeout }));
      };
      endWatch = watch(() => whereabouts.signs, this.#timeout, onHang);
    });
    return { hung, endWatch };
  }

  /** A thread did not end when it was closed, and keeps the process from ending: only a signal would end that. */
  get stuck(): boolean {
    return this.#stuck;
  }

  /**
   * Ends all threads: politely, and after a grace period by force. Where that cannot end one, the group is `stuck`, and so
   * is the error that it ended with.
   */
  async close(): Promise<void> {
    for (const worker of this.#workers) worker.close().catch(() => {});
    await Promise.race([Promise.allSettled(this.#tasks), delay(CLOSE_GRACE)]);
    for (const port of this.#ports) port.close();
    this.#stuck = true;
    const ended = this.#pool.destroy().then(() => {
      this.#stuck = false;
    });
    await Promise.race([ended, delay(END_GRACE)]);
    if (this.#stuck && this.#error instanceof Error) Object.assign(this.#error, { stuck: true });
  }

  #asFailure(rank: number, cause: unknown): Error {
    // Errors cross threads by their properties, not by their class.
    if (cause instanceof Error && cause.name === 'UsageError') return new UsageError(cause.message);
    return failureOf(rank, this.#devices[rank], cause, this.control.whereabouts.sightings[rank]);
  }
}

function delay(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds, undefined).unref());
}
