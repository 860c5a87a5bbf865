// The parts of `gradamp train` that are not training: where a run goes, what Ctrl-C does.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { nodeProblem } from '../../src/cli/machine.ts';
import { freeFolder, interruptible } from '../../src/cli/train.ts';
import { synthesize } from '../../src/data/synthetic.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

afterEach(() => {
  process.exitCode = undefined;
});

test('a run goes to the first folder of its name that holds nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-train-'));
  const run = join(folder, 'run');
  expect(freeFolder(run)).toBe(run);
  mkdirSync(run);
  expect(freeFolder(run)).toBe(run);
  writeFileSync(join(run, 'config.yaml'), '');
  expect(freeFolder(run)).toBe(`${run}-2`);
  writeFileSync(`${run}-2`, 'a file');
  expect(freeFolder(run)).toBe(`${run}-3`);
  rmSync(folder, { recursive: true });
});

test('Ctrl-C aborts the work, which may end in its own time, and gives the exit code of the signal', async () => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const before = process.listenerCount('SIGINT');
  const result = await interruptible(async (signal) => {
    setTimeout(() => process.emit('SIGINT', 'SIGINT'), 10);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    return 'stopped';
  });
  expect(result).toBe('stopped');
  expect(process.exitCode).toBe(130);
  expect(write).toHaveBeenCalledWith('\nstopping after this step; Ctrl-C again ends at once\n');
  expect(process.listenerCount('SIGINT')).toBe(before);
  write.mockRestore();
});

test('a second Ctrl-C ends the program', async () => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  await interruptible(async () => {
    process.emit('SIGTERM', 'SIGTERM');
    expect(exit).not.toHaveBeenCalled();
    process.emit('SIGTERM', 'SIGTERM');
  });
  expect(exit).toHaveBeenCalledOnce();
  expect(process.exitCode).toBe(143);
  exit.mockRestore();
  write.mockRestore();
});

test('work that fails does so, and leaves no listeners', async () => {
  const before = process.listenerCount('SIGINT');
  await expect(interruptible(() => Promise.reject(new Error('worker 1 died')))).rejects.toThrow(
    'worker 1 died',
  );
  expect(process.listenerCount('SIGINT')).toBe(before);
});

test('Node below 20.11 is too old', () => {
  expect(nodeProblem('18.20.4')).toBe('too old: expected 20.11 or newer');
  expect(nodeProblem('20.10.0')).toBe('too old: expected 20.11 or newer');
  expect(['20.11.0', '22.0.0', '24.11.1'].map(nodeProblem)).toEqual([null, null, null]);
});

test('with --json standard output has the summary alone, and standard error the progress', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-train-'));
  await synthesize({ dataset: 'cifar10', directory: join(folder, 'data'), seed: 1, train: 8, test: 10 });
  const config =
    'model: { name: resnet8, width: 0.125 }\ndataset: cifar10\ndataDir: data\nbatchSize: 4\nschedule: [[1, 0.1, false, 1]]\n';
  writeFileSync(join(folder, 'run.yaml'), config);
  const run = spawnSync(process.execPath, [MAIN, 'train', 'run.yaml', '--json'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const summary = JSON.parse(readFileSync(join(folder, 'runs/run/summary.json'), 'utf8'));
  expect(JSON.parse(run.stdout)).toEqual({ directory: 'runs/run', ...summary });
  expect(summary).toMatchObject({ epochs: 1, stopped: false });
  expect(run.stderr).toMatch(
    /^run run: resnet8,.*\nepoch 1\/1 .*\ndone: 1 epoch in .*; files in runs\/run\n$/,
  );
  expect(run.status).toBe(0);
  rmSync(folder, { recursive: true });
});
