// SIGTERM, Ctrl-C and a closed terminal in the middle of an epoch: the run stops, keeps what it has, and says how to go on.

import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import {
  folderOfRuns,
  gradamp,
  PATIENCE,
  removeFolder,
  runIn,
  start,
  startOnTerminal,
  until,
} from './program.ts';

let folder: string;
let whole: ReturnType<typeof runIn>;
beforeAll(async () => {
  folder = await folderOfRuns();
  whole = runIn(`${folder}/whole`);
  expect(await gradamp(folder, 'train', 'run.yaml', '--out', 'whole')).toMatchObject({ code: 0, stderr: '' });
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

test.each([
  { name: 'SIGTERM', code: 143, times: 1 },
  { name: 'SIGINT', code: 130, times: 1 },
  // Of a terminal that is closed, shell and system tell.
  { name: 'SIGHUP', code: 129, times: 2 },
] as const)(
  '$name leaves a checkpoint and exit code $code, and the run goes on to the same metrics',
  PATIENCE,
  async ({ name, code, times }) => {
    const run = runIn(`${folder}/${name}`);
    const program = start(folder, 'train', 'run.yaml', '--out', name);
    await until(program, 'the first epoch', () => run.epochs() === 1);
    const heard = once(program.child.stderr!, 'data');
    program.child.kill(name);
    await heard;
    if (times === 2) program.child.kill(name);
    const end = await program.ended;
    expect(end).toMatchObject({ code, stderr: '\nstopping after this step; Ctrl-C again ends at once\n' });
    const epochs = run.epochs();
    expect(end.stdout.trimEnd().split('\n').at(-1)).toMatch(
      new RegExp(
        `^stopped: ${epochs} complete epochs? in .*; files in ${name}; go on with: gradamp train --resume ${name}$`,
      ),
    );
    expect(JSON.parse(run.text('summary.json'))).toMatchObject({ epochs, stopped: true });
    const { progress } = await readCheckpoint(run.file('checkpoint.msgpack'));
    expect(run.log('stop')).toMatchObject([{ level: 'warning', epoch: epochs + 1, step: progress.step }]);
    expect(progress.history).toHaveLength(epochs);

    const resumed = await gradamp(folder, 'train', '--resume', name);
    expect(resumed).toMatchObject({ code: 0, stderr: '' });
    const { step } = progress;
    const place = step > 0 ? `epoch ${epochs + 1}, step ${step}` : `epoch ${epochs}`;
    expect(resumed.stdout).toContain(`\ngoes on after ${place} (checkpoint.msgpack)\n`);
    for (const file of ['metrics.jsonl', 'metrics.csv', 'selections.jsonl']) {
      expect(run.text(file)).toBe(whole.text(file));
    }
    expect(JSON.parse(run.text('summary.json'))).toMatchObject({ epochs: 4, stopped: false });
  },
);

test.runIf(process.platform === 'linux' && existsSync('/usr/bin/script')).each([0, 1])(
  'a run with restarts: %i whose terminal is closed leaves a checkpoint and exit code 129',
  PATIENCE,
  async (restarts) => {
    const name = `closed-${restarts}`;
    const run = runIn(`${folder}/${name}`);
    const options = ['--out', name, '--set', `restarts=${restarts}`];
    const terminal = startOnTerminal(folder, 'train', 'run.yaml', ...options);
    await until({ child: terminal }, 'the first epoch', () => run.epochs() === 1);
    terminal.kill('SIGKILL');
    await expect.poll(() => runIn(folder).text('code'), { timeout: 60_000 }).toBe('129\n');
    rmSync(`${folder}/code`);
    const { progress } = await readCheckpoint(run.file('checkpoint.msgpack'));
    expect(run.log('stop')).toMatchObject([{ epoch: run.epochs() + 1, step: progress.step }]);
    expect(run.log('start')).toHaveLength(1);
    expect(progress.history).toHaveLength(run.epochs());
  },
);
