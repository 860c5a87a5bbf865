// What may become of a worker that does not do what it was told.

import type { Sighting } from './whereabouts.ts';

/** A worker failed by itself: it threw, or its thread ended. */
export class WorkerError extends Error {
  override readonly name: string = 'WorkerError';
  readonly rank: number;

  constructor(rank: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.rank = rank;
  }
}

/** Nothing came from a worker for so long that nothing will. `rank`: of the first such one. */
export class HungError extends WorkerError {
  override readonly name = 'HungError';
}

/** Says who failed, where in the run if in a step or an evaluation, and why. */
export function failureOf(rank: number, device: string, cause: unknown, sighting: Sighting): WorkerError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new WorkerError(rank, `worker ${rank} (${device}) failed${during(sighting)}: ${reason}`, { cause });
}

function during({ place, epoch, step }: Sighting): string {
  switch (place) {
    case 'computing':
    case 'gathering':
    case 'before the update':
    case 'updating':
    case 'behind the update':
    case 'finishing':
      return ` in step ${step} of epoch ${epoch}`;
    case 'evaluating':
      return ` in an evaluation behind epoch ${epoch}`;
    case 'starting':
    case 'idle':
    case 'beginning':
    case 'measuring':
    case 'publishing':
      return '';
    default:
      return place satisfies never;
  }
}

/** Of a group in which nothing moves. */
export interface Hang {
  /** By rank. */
  readonly sightings: readonly Sighting[];
  readonly devices: readonly string[];
  /** Ranks that have not done what they were last told to. */
  readonly pending: ReadonlySet<number>;
  /** Seconds without a sign of life. */
  readonly timeout: number;
}

/** Says who did not come, where to, and who waits for it. */
export function hangOf({ sightings, devices, pending, timeout }: Hang): HungError {
  const ranks = [...sightings.keys()];
  const waiting = ranks.filter((rank) => sightings[rank].waiting);
  // Where others wait, one that is through with its work is missing too.
  const absent = ranks.filter(
    (rank) => !sightings[rank].waiting && (pending.has(rank) || waiting.length > 0),
  );
  const hung = absent.length > 0 ? absent : [...pending];
  const missing = grouped(hung, (rank) => expected(sightings[rank])).map(([place, members]) => {
    const names = members.map((rank) => `${rank} (${devices[rank]})`);
    const [noun, verb, them] = members.length > 1 ? ['workers', 'hang', 'them'] : ['worker', 'hangs', 'it'];
    return `${noun} ${names.join(', ')} ${verb}: expected ${them} ${place} within ${timeout} s, got no sign of life`;
  });
  const there = expected(sightings[hung[0]]);
  const waits = grouped(waiting, (rank) => expected(sightings[rank])).map(([place, members]) => {
    const [noun, verb] = members.length > 1 ? ['workers', 'wait'] : ['worker', 'waits'];
    return `${noun} ${members.join(', ')} ${verb} ${place === there ? 'there' : place}`;
  });
  const advice = 'raise barrierTimeout if it only takes longer';
  return new HungError(hung[0], [...missing, ...waits, advice].join('; '));
}

/** Where a worker is to come next. */
function expected({ place, epoch, step }: Sighting): string {
  switch (place) {
    case 'starting':
      return 'to have loaded its engine';
    case 'idle':
      return 'to take up its next work';
    case 'beginning':
      return `to have begun epoch ${epoch}`;
    case 'computing':
    case 'before the update':
      return `at the barrier before the update of step ${step} of epoch ${epoch}`;
    case 'gathering':
      return `at a batch norm of step ${step} of epoch ${epoch}`;
    case 'updating':
    case 'behind the update':
      return `at the barrier behind the update of step ${step} of epoch ${epoch}`;
    case 'finishing':
      return `at the end of epoch ${epoch}, behind step ${step}`;
    case 'evaluating':
      return `to have evaluated some more images behind epoch ${epoch}`;
    case 'measuring':
      return `to have measured its shard behind epoch ${epoch}`;
    case 'publishing':
      return `to have published what it holds, behind step ${step} of epoch ${epoch}`;
    default:
      return place satisfies never;
  }
}

/** Members by what is said of them, in their order. */
function grouped(ranks: readonly number[], textOf: (rank: number) => string): [string, number[]][] {
  const groups = new Map<string, number[]>();
  for (const rank of ranks) {
    const text = textOf(rank);
    groups.set(text, [...(groups.get(text) ?? []), rank]);
  }
  return [...groups];
}
