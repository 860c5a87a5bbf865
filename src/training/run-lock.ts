// One process a run's folder. Each puts down a file of its own name and looks for those of others: no name is ever used
// again, so that the files of the dead can be removed by whoever sees them, whatever killed those.

import {
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { UsageError } from '../errors.ts';
import { asUsageError, makeFolders } from './folder.ts';

/** `.lock-<place>-<pid>-<start>`: no two processes have the same name, and no dead one's name comes again. */
const NAME = /^\.lock-(.+)-(\d+)-(\d+)$/;
/** Of another machine or container all that can be seen is whether it still renews its lock. */
const RENEWAL_SECONDS = 10;
const STALE_SECONDS = 60;
const POLL_MILLISECONDS = 200;

export interface RunLock {
  release(): void;
}

export interface LockOptions {
  /** Ends a wait. */
  readonly signal?: AbortSignal;
  /** Told what is waited for, and how long at most. */
  readonly notice?: (text: string) => void;
}

interface Holder {
  readonly file: string;
  /** Where the process number counts. */
  readonly place: string;
  readonly pid: number;
  readonly start: string;
}

/**
 * Held until `release` or the end of the process. Makes the folder where there is none. A lock of this host's name, but
 * of another container or start of it, may be what a crash has left of this very one: it is waited for, a minute at
 * most, until it is renewed or stale.
 * @throws UsageError where another process holds it, or the folder cannot be written; AbortError in a wait.
 */
export async function acquireRunLock(directory: string, options: LockOptions = {}): Promise<RunLock> {
  for (;;) {
    const { file, doubtful } = tryLock(directory);
    if (!doubtful) return held(file);
    // Nobody is refused for one that only waits.
    remove(file);
    await untilDead(directory, doubtful, options);
  }
}

/** Puts the own file down, and says whose stands beside it of which it cannot be told yet whether it lives. */
function tryLock(directory: string): { readonly file: string; readonly doubtful?: Holder } {
  const start = statusOf(process.pid)?.start ?? String(Date.now());
  const file = join(directory, `.lock-${ownPlace()}-${process.pid}-${start}`);
  try {
    makeFolders(directory);
    writeFileSync(file, '');
    tellSince(file);
    return { file, doubtful: refuseOthers(directory, file) };
  } catch (error) {
    remove(file);
    throw asUsageError(directory, error);
  }
}

/** Removes its file then. Clocks that differ do not count: a minute without a renewal is enough. */
async function untilDead(directory: string, holder: Holder, { signal, notice }: LockOptions): Promise<void> {
  const first = renewedAt(holder.file);
  if (first === undefined) return;
  const age = Math.max(Date.now() - first, 0) / 1000;
  const left = Math.max(STALE_SECONDS - age, 0);
  notice?.(
    `${directory}: process ${holder.pid} on ${hostOf(holder.place)}, of another container or before a restart, wrote here ${Math.round(age)} s ago; waits ${Math.ceil(left)} s at most to see whether it still does`,
  );
  const end = performance.now() + left * 1000;
  while (performance.now() < end) {
    await setTimeout(Math.min(POLL_MILLISECONDS, end - performance.now()), undefined, { signal });
    const last = renewedAt(holder.file);
    if (last === undefined) return;
    if (last !== first) throw refusal(directory, holder);
  }
  remove(holder.file);
}

/** For whoever is refused; a full disk does not keep a run from going on. */
function tellSince(file: string): void {
  try {
    writeFileSync(file, new Date().toISOString());
  } catch {
    // It is there, and that is what counts.
  }
}

/** Does not make a folder a run's. */
export const isRunLock = (name: string) => NAME.test(name);

/** Removes the files of the dead, too. */
function refuseOthers(directory: string, own: string): Holder | undefined {
  let doubtful: Holder | undefined;
  for (const holder of holders(directory)) {
    const { file, place, pid, start } = holder;
    if (file === own) continue;
    const alive = place === ownPlace() ? isRunning(pid, start) : isRenewed(file);
    if (!alive) remove(file);
    else if (place !== ownPlace() && hostOf(place) === hostOf(ownPlace())) doubtful = holder;
    else throw refusal(directory, holder);
  }
  return doubtful;
}

const refusal = (directory: string, { file, place, pid }: Holder) =>
  new UsageError(
    `${directory}: expected a folder that no other process writes, got one that process ${pid} on ${hostOf(place)} writes${sinceWhen(file)}; wait until it has ended or choose another with --out`,
  );

function holders(directory: string): readonly Holder[] {
  return readdirSync(directory).flatMap((name) => {
    const [, place, pid, start] = NAME.exec(name) ?? [];
    return place === undefined ? [] : [{ file: join(directory, name), place, pid: Number(pid), start }];
  });
}

function held(file: string): RunLock {
  const renewal = setInterval(() => renew(file), RENEWAL_SECONDS * 1000).unref();
  const release = () => {
    clearInterval(renewal);
    process.off('exit', release);
    remove(file);
  };
  process.on('exit', release);
  return { release };
}

/** A renewal that fails costs nothing in this place; for another, a minute of them in a row does. */
function renew(file: string): void {
  try {
    const now = new Date();
    utimesSync(file, now, now);
  } catch {}
}

function remove(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {}
}

/** A process of another user counts, a zombie does not, nor one that has got the number since. */
function isRunning(pid: number, start: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const current = statusOf(pid);
  return current === undefined || (current.state !== 'Z' && current.start === start);
}

/**
 * On Linux; undefined elsewhere, and of a process that cannot be seen. `start` counts the machine's clock ticks. By
 * proc(5): behind the name in parentheses, which may hold anything, the state is field 3, the start time field 22.
 */
function statusOf(pid: number): { readonly state: string; readonly start: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], start: fields[22 - 3] };
  } catch {
    return undefined;
  }
}

function isRenewed(file: string): boolean {
  const time = renewedAt(file);
  return time !== undefined && Date.now() - time < STALE_SECONDS * 1000;
}

/** In milliseconds; undefined where it is gone: released. */
const renewedAt = (file: string) => statSync(file, { throwIfNoEntry: false })?.mtimeMs;

/** Empty where the file is gone, or not yet written. */
function sinceWhen(file: string): string {
  try {
    const since = readFileSync(file, 'utf8');
    return since === '' ? '' : ` since ${since}`;
  } catch {
    return '';
  }
}

/** `<host>@<boot>.<namespace>`: containers may share a host's name, and machines a number of their namespaces. */
function ownPlace(): string {
  const host = hostname()
    .replaceAll(/[^A-Za-z0-9._-]/g, '_')
    .slice(0, 100);
  return `${host || 'localhost'}${ownNamespace()}`;
}

const hostOf = (place: string) => place.split('@')[0];

/** On Linux, of this process's numbers; empty elsewhere. By namespaces(7) the link reads `pid:[<inode>]`. */
function ownNamespace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8);
    const [inode] = /\d+/.exec(readlinkSync('/proc/self/ns/pid')) ?? [];
    return inode === undefined ? '' : `@${boot}.${inode}`;
  } catch {
    return '';
  }
}
