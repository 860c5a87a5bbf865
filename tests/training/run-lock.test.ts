import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { acquireRunLock, isRunLock, type RunLock } from '../../src/training/run-lock.ts';

const LOCK_MODULE = new URL('../../dist/src/training/run-lock.js', import.meta.url).href;

let folder: string;
let path: string;
let held: RunLock | undefined;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-lock-'));
  path = join(folder, 'run');
  held = undefined;
});
afterEach(() => {
  held?.release();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const locks = () => readdirSync(path).filter(isRunLock);
const host = hostname().replaceAll(/[^A-Za-z0-9._-]/g, '_');
/** The host, which start of it, and which namespace of process numbers. */
const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').split('-')[0];
const place = `${host}@${boot}.${statSync('/proc/self/ns/pid').ino}`;
/** Ticks since the machine's start, at which a process began. */
const startOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ')[19];

/** A process that says whether it got the lock, and then lives on until it is told to end. */
async function contender(
  ...wrapper: string[]
): Promise<{ readonly child: ChildProcess; readonly said: string }> {
  const program = `
    import { acquireRunLock } from ${JSON.stringify(LOCK_MODULE)};
    try {
      await acquireRunLock(${JSON.stringify(path)}, { notice: console.log });
      console.log('got it');
    } catch (error) {
      console.log(error.name + ': ' + error.message);
    }
    process.stdin.on('end', () => process.exit()).resume();`;
  const [command, ...words] = [...wrapper, process.execPath, '--input-type=module', '--eval', program];
  const child = spawn(command, words, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const [said] = await once(child.stdout!, 'data');
  return { child, said: String(said).trimEnd() };
}

describe('between two processes', () => {
  it('the second is told which one has the folder, and leaves no trace', async () => {
    const first = await contender();
    expect(first.said).toBe('got it');
    const [name] = locks();
    const second = await contender();
    const since = readFileSync(join(path, name), 'utf8');
    expect(new Date(since).toISOString()).toBe(since);
    expect(second.said).toBe(
      `UsageError: ${path}: expected a folder that no other process writes, got one that process ${first.child.pid} on ${host} writes since ${since}; wait until it has ended or choose another with --out`,
    );
    expect(locks()).toEqual([name]);
  });

  it('one that is killed has lost its lock at once', async () => {
    const first = await contender();
    const [name] = locks();
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    expect(locks()).toEqual([name]);
    const second = await contender();
    expect(second.said).toBe('got it');
    expect(locks()).toHaveLength(1);
    expect(locks()).not.toContain(name);
  });

  it('one that ends takes its file with it', async () => {
    const { child } = await contender();
    child.stdin!.end();
    await once(child, 'exit');
    expect(locks()).toEqual([]);
  });

  it('a process that was killed but not yet collected by its parent is dead', async () => {
    // The child ends when sleep has taken the shell's place, and sleep never waits for it.
    const shell = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(shell);
    const [said] = await once(shell.stdout!, 'data');
    const zombie = Number(String(said));
    await vi.waitFor(() => expect(readFileSync(`/proc/${zombie}/stat`, 'latin1')).toContain(') Z '), 5_000);
    mkdirSync(path);
    writeFileSync(join(path, `.lock-${place}-${zombie}-${startOf(zombie)}`), '');
    held = await acquireRunLock(path);
    expect(locks()).toHaveLength(1);
  });
});

it('makes the folder, is a file in it, and is gone when it is released', async () => {
  path = join(folder, 'runs', 'one');
  held = await acquireRunLock(path);
  expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
  held.release();
  held.release();
  expect(readdirSync(path)).toEqual([]);
  held = await acquireRunLock(path);
});

it('another process that has got the number of a dead one since does not keep its lock', async () => {
  mkdirSync(path);
  // The parent lives, but began at another time.
  writeFileSync(join(path, `.lock-${place}-${process.ppid}-1`), '');
  held = await acquireRunLock(path);
  expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
});

it('a process of this machine holds its lock however old it is', async () => {
  mkdirSync(path);
  const file = join(path, `.lock-${place}-${process.ppid}-${startOf(process.ppid)}`);
  writeFileSync(file, '2026-01-02T03:04:05.678Z');
  utimesSync(file, 0, 0);
  await expect(acquireRunLock(path)).rejects.toThrow(UsageError);
  await expect(acquireRunLock(path)).rejects.toThrow(
    `that process ${process.ppid} on ${host} writes since 2026-01-02T03:04:05.678Z; wait`,
  );
  expect(locks()).toEqual([`.lock-${place}-${process.ppid}-${startOf(process.ppid)}`]);
});

const renewedBefore = (seconds: number, lock: string) => {
  mkdirSync(path, { recursive: true });
  const file = join(path, lock);
  writeFileSync(file, '');
  const then = Date.now() / 1000 - seconds;
  utimesSync(file, then, then);
  return file;
};

const PLACES = [
  ['another machine', 'some-other-host'],
  ['another container of this machine', `${host}@${boot}.4026531000`],
  ['another start, or another machine of the same name', `${host}@00000000.${place.split('.').at(-1)}`],
  ['a machine that tells no namespaces', host],
];

it.each(PLACES)('a lock of %s that was not renewed for a minute is dead at once', async (_, other) => {
  // By a process whose number is in use here.
  renewedBefore(70, `.lock-${other}-${process.ppid}-${startOf(process.ppid)}`);
  const notice = vi.fn();
  held = await acquireRunLock(path, { notice });
  expect(notice).not.toHaveBeenCalled();
  expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
});

it('a lock of another machine that was renewed within a minute is held', async () => {
  renewedBefore(50, '.lock-some-other-host-4194305-345');
  await expect(acquireRunLock(path)).rejects.toThrow(
    'got one that process 4194305 on some-other-host writes; wait until it has ended or choose another with --out',
  );
  expect(locks()).toEqual(['.lock-some-other-host-4194305-345']);
});

describe.each(PLACES.slice(1))('a lock of %s that was renewed within a minute is waited for:', (_, other) => {
  const lock = `.lock-${other}-4194305-345`;
  /** Settles when it waits, with what it says then. */
  const waiting = (seconds: number, signal?: AbortSignal) => {
    const file = renewedBefore(seconds, lock);
    const said: string[] = [];
    const acquired = acquireRunLock(path, { signal, notice: (text) => said.push(text) });
    expect(said).toEqual([
      `${path}: process 4194305 on ${host}, of another container or before a restart, wrote here ${seconds} s ago; waits ${60 - seconds} s at most to see whether it still does`,
    ]);
    // Who waits holds nothing.
    expect(locks()).toEqual([lock]);
    return { file, said, acquired };
  };

  it('without a renewal it is dead when the minute is over', async () => {
    const started = performance.now();
    const { said, acquired } = waiting(59);
    held = await acquired;
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(said).toHaveLength(1);
    expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
  });

  it('with one, its process lives and has the folder', async () => {
    const { file, acquired } = waiting(5);
    utimesSync(file, new Date(), new Date());
    await expect(acquired).rejects.toThrow(
      `${path}: expected a folder that no other process writes, got one that process 4194305 on ${host} writes; wait`,
    );
    await expect(acquired).rejects.toThrow(UsageError);
    expect(locks()).toEqual([lock]);
  });

  it('once it is released there is nothing to wait for', async () => {
    const { file, acquired } = waiting(5);
    rmSync(file);
    held = await acquired;
    expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
  });

  it('a stop ends the wait', async () => {
    const controller = new AbortController();
    const { acquired } = waiting(5, controller.signal);
    controller.abort();
    await expect(acquired).rejects.toMatchObject({ name: 'AbortError' });
    expect(locks()).toEqual([lock]);
  });
});

/** Needs a privilege that not every machine gives. */
const UNSHARE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

it('a process that another namespace does not see keeps its folder from it', async () => {
  const { status, stderr } = spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'true'], { encoding: 'utf8' });
  if (status !== 0) return expect(stderr).toMatch(/unshare.*(not permitted|Permission denied)/);
  const first = await contender();
  expect(first.said).toBe('got it');
  const second = await contender(...UNSHARE);
  expect(second.said).toContain(`process ${first.child.pid} on ${host}, of another container or before`);
  const [name] = locks();
  // As the first will by itself, within ten seconds.
  utimesSync(join(path, name), new Date(), new Date());
  const [refused] = await once(second.child.stdout!, 'data');
  expect(String(refused)).toContain(`got one that process ${first.child.pid} on ${host} writes since `);
  expect(locks()).toEqual([name]);
});

it('is renewed every ten seconds', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  try {
    held = await acquireRunLock(path);
    const file = join(path, locks()[0]);
    utimesSync(file, 0, 0);
    vi.advanceTimersByTime(9_999);
    expect(statSync(file).mtimeMs).toBe(0);
    vi.advanceTimersByTime(1);
    expect(Math.abs(statSync(file).mtimeMs - Date.now())).toBeLessThan(1);
    held.release();
    vi.advanceTimersByTime(10_000);
    expect(existsSync(file)).toBe(false);
  } finally {
    vi.useRealTimers();
  }
});

it('a folder that cannot be made or written is wrong input', async () => {
  writeFileSync(path, '');
  await expect(acquireRunLock(path)).rejects.toThrow(
    `${path}: expected a folder that can be written, got ENOTDIR; choose another with --out`,
  );
  await expect(acquireRunLock(join(path, 'below'))).rejects.toThrow(UsageError);
  await expect(acquireRunLock('/proc/gradamp')).rejects.toThrow(UsageError);
});

it('files of other names are none of its', () => {
  expect(['.lock-a-1-2', '.lock-a-b.c_d@e.5-10-20'].map(isRunLock)).toEqual([true, true]);
  expect(['.lock', '.lock-a-1', '.lock-a-x-2', 'lock-a-1-2', '.lock-1-2'].map(isRunLock)).toEqual([
    false,
    false,
    false,
    false,
    false,
  ]);
});
