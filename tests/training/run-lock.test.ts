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
      acquireRunLock(${JSON.stringify(path)});
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
    held = acquireRunLock(path);
    expect(locks()).toHaveLength(1);
  });
});

it('makes the folder, is a file in it, and is gone when it is released', () => {
  path = join(folder, 'runs', 'one');
  held = acquireRunLock(path);
  expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
  held.release();
  held.release();
  expect(readdirSync(path)).toEqual([]);
  held = acquireRunLock(path);
});

it('another process that has got the number of a dead one since does not keep its lock', () => {
  mkdirSync(path);
  // The parent lives, but began at another time.
  writeFileSync(join(path, `.lock-${place}-${process.ppid}-1`), '');
  held = acquireRunLock(path);
  expect(locks()).toEqual([`.lock-${place}-${process.pid}-${startOf(process.pid)}`]);
});

it('a process of this machine holds its lock however old it is', () => {
  mkdirSync(path);
  const file = join(path, `.lock-${place}-${process.ppid}-${startOf(process.ppid)}`);
  writeFileSync(file, '2026-01-02T03:04:05.678Z');
  utimesSync(file, 0, 0);
  expect(() => acquireRunLock(path)).toThrow(UsageError);
  expect(() => acquireRunLock(path)).toThrow(
    `that process ${process.ppid} on ${host} writes since 2026-01-02T03:04:05.678Z; wait`,
  );
  expect(locks()).toEqual([`.lock-${place}-${process.ppid}-${startOf(process.ppid)}`]);
});

describe.each([
  ['another machine', 'some-other-host', 'some-other-host'],
  ['another container of this machine', `${host}@${boot}.4026531000`, host],
  ['another machine of the same name', `${host}@00000000.${place.split('.').at(-1)}`, host],
  ['a machine that tells no namespaces', host, host],
])('of %s', (_, other, name) => {
  /** By a process whose number is in use here. */
  const elsewhere = `.lock-${other}-${process.ppid}-${startOf(process.ppid)}`;
  /** By one whose number is not. */
  const unknown = `.lock-${other}-4194305-345`;
  const renewedBefore = (seconds: number, lock: string) => {
    mkdirSync(path);
    const file = join(path, lock);
    writeFileSync(file, '');
    const then = Date.now() / 1000 - seconds;
    utimesSync(file, then, then);
  };

  it('a lock that was renewed within a minute is held', () => {
    renewedBefore(50, unknown);
    expect(() => acquireRunLock(path)).toThrow(
      `got one that process 4194305 on ${name} writes; wait until it has ended or choose another with --out`,
    );
    expect(locks()).toEqual([unknown]);
  });

  it('one that was not is dead', () => {
    renewedBefore(70, elsewhere);
    held = acquireRunLock(path);
    expect(locks()).toHaveLength(1);
    expect(locks()).not.toContain(elsewhere);
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
  expect(second.said).toContain(`got one that process ${first.child.pid} on ${host} writes since `);
  expect(locks()).toHaveLength(1);
});

it('is renewed every ten seconds', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  try {
    held = acquireRunLock(path);
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

it('a folder that cannot be made or written is wrong input', () => {
  writeFileSync(path, '');
  expect(() => acquireRunLock(path)).toThrow(
    `${path}: expected a folder that can be written, got ENOTDIR; choose another with --out`,
  );
  expect(() => acquireRunLock(join(path, 'below'))).toThrow(UsageError);
  expect(() => acquireRunLock('/proc/gradamp')).toThrow(UsageError);
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
