// SIGTERM and Ctrl-C in the middle of an epoch: the run stops, keeps what it has, and says how to go on.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn, start, until } from './program.ts';

let folder: string;
let whole: ReturnType<typeof runIn>;
beforeAll(async () => {
  folder = await folderOfRuns();
  whole = runIn(`${folder}/whole`);
  expect(await gradamp(folder, 'train', 'run.yaml', '--out', 'whole')).toMatchObject({ code: 0, stderr: '' });
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

test.each([
  { name: 'SIGTERM', code: 143 },
  { name: 'SIGINT', code: 130 },
] as const)(
  '$name leaves a checkpoint and exit code $code, and the run goes on to the same metrics',
  PATIENCE,
  async ({ name, code }) => {
    const run = runIn(`${folder}/${name}`);
    const program = start(folder, 'train', 'run.yaml', '--out', name);
    await until(program, 'the first epoch', () => run.epochs() === 1);
    program.child.kill(name);
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
