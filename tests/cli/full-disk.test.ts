// A disk that fills up, stood in for by /dev/full and by Linux's limit on the size of files.

import { execFileSync } from 'node:child_process';
import { linkSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import { canLimit } from '../training/file-size-limit.ts';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn, start, until } from './program.ts';

let folder: string;
let whole: ReturnType<typeof runIn>;
beforeAll(async () => {
  folder = await folderOfRuns();
  whole = runIn(join(folder, 'whole'));
  expect(await gradamp(folder, 'train', 'run.yaml', '--out', 'whole')).toMatchObject({ code: 0, stderr: '' });
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

/** From now on each write is refused with ENOSPC. @returns what puts the file back. The path is never without a file. */
function fill(file: string): () => void {
  linkSync(file, `${file}.aside`);
  symlinkSync('/dev/full', `${file}.full`);
  renameSync(`${file}.full`, file);
  return () => renameSync(`${file}.aside`, file);
}

const told = (path: string) =>
  `warning: disk full: ${path}: ENOSPC: no space left on device, write; training goes on; what is not written is kept in memory and written as soon as there is space`;

describe.runIf(process.platform === 'linux')('metrics.jsonl on a full disk', () => {
  test('for an epoch or two is complete in the end, and that is told once', PATIENCE, async () => {
    const run = runIn(join(folder, 'meanwhile'));
    const program = start(folder, 'train', 'run.yaml', '--out', 'meanwhile');
    await until(program, 'the first epoch', () => run.epochs() === 1);
    const putBack = fill(run.file('metrics.jsonl'));
    await until(
      program,
      'another epoch',
      () => run.log('epoch').length > 1 && run.log('disk-full').length > 0,
    );
    putBack();
    const { code, stdout, stderr } = await program.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const about = stdout.split('\n').filter((line) => /disk|written/.test(line));
    expect(about).toEqual([
      told(run.file('metrics.jsonl')),
      `warning: ${run.directory}: what was kept in memory is written`,
    ]);
    for (const file of ['metrics.jsonl', 'metrics.csv', 'selections.jsonl']) {
      expect(run.text(file)).toBe(whole.text(file));
    }
    expect(run.log('disk-full')).toMatchObject([{ level: 'warning', file: 'metrics.jsonl' }]);
    expect(run.log('disk-recovered')).toHaveLength(1);
  });

  test('to the end is named, with exit code 1, and the resumed run is complete', PATIENCE, async () => {
    const run = runIn(join(folder, 'always'));
    const program = start(folder, 'train', 'run.yaml', '--out', 'always');
    await until(program, 'the first epoch', () => run.epochs() === 1);
    const putBack = fill(run.file('metrics.jsonl'));
    const { code, stdout, stderr } = await program.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^gradamp: /);
    expect(stderr.split('\n')[0]).toContain(
      `${run.directory}: expected to complete metrics.jsonl, got ENOSPC: no space left on device, write; make space and resume the run, whose last checkpoint holds what is missing`,
    );
    expect(stdout.split('\n').filter((line) => line.includes('disk full'))).toEqual([
      told(run.file('metrics.jsonl')),
    ]);
    expect(run.files()).not.toContain('summary.json');
    putBack();
    expect(run.epochs()).toBe(1);
    expect(await gradamp(folder, 'train', '--resume', 'always')).toMatchObject({ code: 0, stderr: '' });
    expect(run.text('metrics.jsonl')).toBe(whole.text('metrics.jsonl'));
    expect(JSON.parse(run.text('summary.json'))).toMatchObject({ epochs: 4, stopped: false });
  });
});

describe.runIf(canLimit)('a checkpoint that the disk has no room for', () => {
  /** Starts a run that from its first checkpoint on has room for lines, and not for weights. */
  async function startLimited(name: string, ...more: string[]) {
    const run = runIn(join(folder, name));
    const program = start(folder, 'train', 'run.yaml', '--out', name, ...more);
    const limit = (bytes: number | 'unlimited') =>
      execFileSync('prlimit', ['--pid', `${program.child.pid}`, `--fsize=${bytes}:`]);
    await until(program, 'the first checkpoint', () => run.log('checkpoint').length === 1);
    limit(14_000);
    return { run, program, limit };
  }
  const warnings = (stdout: string) => stdout.split('\n').filter((line) => line.startsWith('warning'));
  const warning = (reason: string) =>
    `warning: checkpoint.msgpack could not be written (${reason}); training goes on, the one before it stays, and the next checkpoint brings another try`;

  test('for a while is told once, and the next ones are written', PATIENCE, async () => {
    const schedule = ['--set', 'schedule=[[12, 0.05, false, 1]]'];
    const { run, program, limit } = await startLimited('short', ...schedule);
    await until(program, 'two checkpoints to fail', () => run.log('checkpoint-failed').length >= 2);
    const kept = await readCheckpoint(run.file('checkpoint.msgpack'));
    limit('unlimited');
    const { code, stdout, stderr } = await program.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const written = run.log('checkpoint').map(({ epoch }) => epoch);
    const failed = run.log('checkpoint-failed');
    expect(failed[0]).toMatchObject({ level: 'warning', file: 'checkpoint.msgpack', step: 0 });
    expect(written).toContain(kept.progress.history.length);
    expect(failed[0].epoch).toBe(kept.progress.history.length + 1);
    expect(written.at(-1)).toBe(12);
    expect(warnings(stdout)).toEqual([warning(failed[0].reason)]);
    const lines = (text: string) => text.trimEnd().split('\n');
    expect(lines(run.text('metrics.jsonl'))).toHaveLength(12);
    expect(lines(run.text('metrics.jsonl')).slice(0, 2)).toEqual(
      lines(whole.text('metrics.jsonl')).slice(0, 2),
    );
    const { progress } = await readCheckpoint(run.file('checkpoint.msgpack'));
    expect(progress.history).toEqual(lines(run.text('metrics.jsonl')).map((line) => JSON.parse(line)));
  });

  test('to the end gives exit code 1, and the resumed run is complete', PATIENCE, async () => {
    const { run, program } = await startLimited('long');
    const { code, stdout, stderr } = await program.ended;
    const [{ reason }] = run.log('checkpoint-failed');
    expect(code).toBe(1);
    expect(stderr.split('\n')[0]).toBe(
      `gradamp: checkpoint.msgpack could not be written: ${reason}; the one before it stays, from which --resume goes on`,
    );
    expect(warnings(stdout)).toEqual([warning(reason)]);
    expect(run.epochs()).toBe(4);
    expect(run.files()).not.toContain('summary.json');
    expect(run.files()).not.toContain('checkpoint.msgpack.tmp');

    expect(await gradamp(folder, 'train', '--resume', 'long')).toMatchObject({ code: 0, stderr: '' });
    for (const file of ['metrics.jsonl', 'metrics.csv', 'selections.jsonl']) {
      expect(run.text(file)).toBe(whole.text(file));
    }
    const [last, expected] = await Promise.all(
      [run, whole].map((each) => readCheckpoint(each.file('checkpoint.msgpack'))),
    );
    expect(last.vectors).toEqual(expected.vectors);
  });
});
