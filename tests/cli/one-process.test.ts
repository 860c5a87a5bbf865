// One process a run's folder.

import { once } from 'node:events';
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn, start, until } from './program.ts';

let folder: string;
beforeAll(async () => {
  folder = await folderOfRuns();
});
afterAll(() => removeFolder(folder));

const schedule = (epochs: number) => ['--set', `schedule=[[${epochs}, 0.05, false, 1]]`];

test(
  'a second process is refused while the first trains, and not once that is killed',
  PATIENCE,
  async () => {
    const run = runIn(join(folder, 'run'));
    const locks = () => run.files().filter((name) => name.startsWith('.lock-'));
    const first = start(folder, 'train', 'run.yaml', '--out', 'run', ...schedule(1000));
    await until(first, 'the first epoch', () => run.epochs() === 1);
    const { code, stdout, stderr } = await gradamp(folder, 'train', '--resume', 'run');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    const [before, since] = stderr.split(' since ');
    expect(before).toBe(
      `gradamp: run: expected a folder that no other process writes, got one that process ${first.child.pid} on ${hostname()} writes`,
    );
    expect(since).toMatch(/^[-\dT:.]+Z; wait until it has ended or choose another with --out\n$/);
    expect(run.log('start')).toHaveLength(1);
    expect(locks()).toHaveLength(1);

    first.child.kill('SIGKILL');
    expect(await first.ended).toMatchObject({ signal: 'SIGKILL', stderr: '' });
    expect(locks()).toHaveLength(1);
    const epochs = run.epochs() + 2;
    const resumed = await gradamp(folder, 'train', '--resume', 'run', ...schedule(epochs));
    expect(resumed).toMatchObject({ code: 0, stderr: '' });
    expect(run.epochs()).toBe(epochs);
    expect(locks()).toEqual([]);
  },
);

test(
  'what a crashed container has left is waited for, until Ctrl-C or its minute is over',
  PATIENCE,
  async () => {
    const run = runIn(join(folder, 'crashed'));
    const lock = `.lock-${hostname()}@00000000.1-7-7`;
    const renewed = (seconds: number) =>
      utimesSync(run.file(lock), Date.now() / 1000, Date.now() / 1000 - seconds);
    mkdirSync(run.directory);
    writeFileSync(run.file(lock), '');
    writeFileSync(run.file('config.yaml'), runIn(folder).text('run.yaml'));
    renewed(0);
    const program = start(folder, 'train', '--resume', 'crashed', ...schedule(1));
    const [said] = await once(program.child.stdout!, 'data');
    expect(said).toMatch(
      /^crashed: process 7 on .* waits (60|59|58) s at most to see whether it still does\n$/,
    );
    program.child.kill('SIGINT');
    expect(await program.ended).toMatchObject({
      code: 130,
      stdout: said,
      stderr: '\nstopping after this step; Ctrl-C again ends at once\n',
    });
    expect(run.files()).toEqual([lock, 'config.yaml']);

    renewed(58);
    const end = await gradamp(folder, 'train', '--resume', 'crashed', ...schedule(1));
    expect(end).toMatchObject({ code: 0, stderr: '' });
    expect(run.epochs()).toBe(1);
    expect(run.files()).not.toContain(lock);
  },
);
