// How many threads the operations of one worker use on processors: libtorch's own, beside the worker's.

import { availableParallelism } from 'node:os';

interface ThreadSettings {
  readonly devices: readonly string[];
  readonly threads?: number;
}

/** What the config says, or the processors in equal shares; at least one. */
export function threadsPerWorker(
  { devices, threads }: ThreadSettings,
  processors = availableParallelism(),
): number {
  return threads ?? Math.max(1, Math.floor(processors / devices.length));
}

/**
 * How often GNU OpenMP's threads look for work before they sleep: about a tenth of a millisecond. By default they look for
 * many milliseconds, and where other programs compute too, each of a step's hundreds of barriers waits for them.
 */
const SPINS = '10000';

/**
 * To be called before the addon is loaded anywhere in this process. Where the workers' threads outnumber the
 * processors, those that wait for work must give way: by default OpenMP's spin, and take the time of those that compute.
 * What the environment says already stays.
 *
 * @returns a warning, where the config asks for more threads than can run at the same time.
 */
export function prepareThreads(
  settings: ThreadSettings,
  processors = availableParallelism(),
): string | undefined {
  const { devices, threads } = settings;
  const total = devices.length * threadsPerWorker(settings, processors);
  if (process.env.OMP_WAIT_POLICY === undefined) process.env.GOMP_SPINCOUNT ??= SPINS;
  if (total <= processors) return undefined;
  process.env.OMP_WAIT_POLICY ??= 'PASSIVE';
  if (threads === undefined) return undefined;
  const best = threadsPerWorker({ devices }, processors);
  return (
    `threads: ${threads} on each of ${devices.length} workers are ${total}, but this machine runs ${processors} at the same ` +
    `time; threads: ${best} is likely to be faster`
  );
}
