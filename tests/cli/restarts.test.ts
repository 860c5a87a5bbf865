// `restarts`: a run whose process is killed is started again, so often and no more.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  folderOfRuns,
  gradamp,
  PATIENCE,
  type Program,
  removeFolder,
  runIn,
  start,
  startGroup,
  until,
} from './program.ts';

let folder: string;
let whole: ReturnType<typeof runIn>;
beforeAll(async () => {
  folder = await folderOfRuns('restarts: 2\n');
  whole = runIn(join(folder, 'whole'));
  const options = ['--out', 'whole', '--set', 'restarts=0'];
  expect(await gradamp(folder, 'train', 'run.yaml', ...options)).toMatchObject({ code: 0, stderr: '' });
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

/** By proc(5): the parent is the second field behind the name in parentheses. */
function childrenOf(parent: number): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent;
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Kills the run's process, once it trains, `times` times. @returns their ids. */
async function killRun(program: Program, run: ReturnType<typeof runIn>, times: number) {
  const killed: number[] = [];
  while (killed.length < times) {
    await until(program, 'the run to train', () => run.log('start').length === killed.length + 1);
    const [process_, ...others] = childrenOf(program.child.pid!);
    expect(others).toEqual([]);
    expect(run.log('start').at(-1).pid).toBe(process_);
    process.kill(process_, 'SIGKILL');
    killed.push(process_);
  }
  return killed;
}

const ended = 'the run was ended by SIGKILL';
const restart = (number: number) => `gradamp: ${ended}; restart ${number} of 2 from its last checkpoint\n`;

describe.runIf(process.platform === 'linux')('with restarts: 2', () => {
  test('a run that is killed twice is complete, with the same metrics', PATIENCE, async () => {
    const run = runIn(join(folder, 'twice'));
    const program = start(folder, 'train', 'run.yaml', '--out', 'twice', '--json');
    await killRun(program, run, 2);
    const { code, stdout, stderr } = await program.ended;
    expect(code).toBe(0);
    expect(stderr.split('\n').filter((line) => line.startsWith('gradamp: '))).toEqual(
      [1, 2].map((number) => restart(number).trimEnd()),
    );
    // With --json nothing else stands there, whatever the processes before have begun.
    const summary = JSON.parse(run.text('summary.json'));
    expect(JSON.parse(stdout)).toEqual({ directory: 'twice', ...summary });
    expect(summary).toMatchObject({ epochs: 4, stopped: false });
    for (const file of ['metrics.jsonl', 'selections.jsonl']) expect(run.text(file)).toBe(whole.text(file));
  });

  test(
    'a run that is killed a third time is given up, with the exit code of the signal',
    PATIENCE,
    async () => {
      const run = runIn(join(folder, 'thrice'));
      const program = start(folder, 'train', 'run.yaml', '--out', 'thrice');
      await killRun(program, run, 3);
      const { code, stderr } = await program.ended;
      expect({ code, stderr }).toEqual({
        code: 137,
        stderr: `${restart(1)}${restart(2)}gradamp: gave up after 2 restarts: ${ended}\n`,
      });
      expect(run.files()).not.toContain('summary.json');
    },
  );

  test('wrong input is told once', PATIENCE, async () => {
    expect(await gradamp(folder, 'train', 'run.yaml', '--out', 'wrong', '--set', 'batchSize=61')).toEqual({
      code: 2,
      signal: null,
      stdout: '',
      stderr:
        'gradamp: batchSize: expected at most the 60 training images in data, got 61; use a smaller batch\n',
    });
    expect(runIn(join(folder, 'wrong')).files()).toEqual([]);
  });

  test('SIGTERM stops the run', PATIENCE, async () => {
    const run = runIn(join(folder, 'stopped'));
    const program = start(folder, 'train', 'run.yaml', '--out', 'stopped');
    await until(program, 'the first epoch', () => run.epochs() === 1);
    program.child.kill('SIGTERM');
    const { code, stdout, stderr } = await program.ended;
    expect({ code, stderr }).toEqual({
      code: 143,
      stderr: '\nstopping after this step; Ctrl-C again ends at once\n',
    });
    expect(stdout).toMatch(/\nstopped: .*; go on with: gradamp train --resume stopped\n$/);
    expect(run.log('start')).toHaveLength(1);
    expect(JSON.parse(run.text('summary.json')).stopped).toBe(true);
  });

  test('SIGTERM stops a run that has only just been started', PATIENCE, async () => {
    const program = start(folder, 'train', 'run.yaml', '--out', 'early');
    await until(program, "the run's process", () => childrenOf(program.child.pid!).length > 0);
    program.child.kill('SIGTERM');
    expect(await program.ended).toEqual({ code: 143, signal: null, stdout: '', stderr: '' });
    expect(runIn(join(folder, 'early')).files()).toEqual([]);
  });

  test('goes on with a run that --resume=<run> names', PATIENCE, async () => {
    const stopped = await gradamp(folder, 'train', '--resume=stopped');
    expect(stopped).toMatchObject({ code: 0, stderr: '' });
    expect(runIn(join(folder, 'stopped')).text('metrics.jsonl')).toBe(whole.text('metrics.jsonl'));
  });

  test.each([
    { name: 'SIGTERM', expected: 143 },
    { name: 'SIGHUP', expected: 129 },
  ] as const)(
    '$name to the whole group stops the run after its step, with a checkpoint',
    PATIENCE,
    async ({ name, expected }) => {
      const run = runIn(join(folder, name));
      const program = startGroup(folder, 'train', 'run.yaml', '--out', name);
      await until(program, 'the run to train', () => run.epochs() > 0);
      process.kill(-program.child.pid!, name);
      const { code, stderr } = await program.ended;
      expect(code).toBe(expected);
      expect(stderr).not.toContain('restart');
      expect(run.files()).toContain('summary.json');
      expect(run.log('stop')).toHaveLength(1);
    },
  );
});
