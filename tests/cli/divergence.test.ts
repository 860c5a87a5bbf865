// A learning rate that no training survives, and a worker that fails.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn } from './program.ts';

let folder: string;
beforeAll(async () => {
  folder = await folderOfRuns();
});
afterAll(() => removeFolder(folder));

test(
  'a run that diverges ends with exit code 3 and one line that names the layer, and is not restarted',
  PATIENCE,
  async () => {
    const settings = ['schedule=[[3, 1e30, false, 1]]', 'skipLimit=2', 'restarts=2'];
    const options = settings.flatMap((setting) => ['--set', setting]);
    const { code, stderr } = await gradamp(folder, 'train', 'run.yaml', '--out', 'run', ...options);
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /^gradamp: training diverged: expected finite gradients and losses, got NaN or infinity in 2 steps in a row \(skipLimit\), up to step 3 of epoch 1: activations at layer bn1 at step 2 of epoch 1; lower the learning rate or the amplification factor\n$/,
    );
    const run = runIn(join(folder, 'run'));
    expect(run.log('start')).toHaveLength(1);
    expect(run.log('error')).toMatchObject([{ name: 'DivergedError', message: stderr.slice(9, -1) }]);
  },
);

test(
  'a run that diverged in an epoch is not complete when it is resumed: it diverges again',
  PATIENCE,
  async () => {
    const settings = ['schedule=[[1, 0.05, false, 1], [2, 1e30, false, 1]]', 'skipLimit=1000'];
    const options = settings.flatMap((setting) => ['--set', setting]);
    const first = await gradamp(folder, 'train', 'run.yaml', '--out', 'late', ...options);
    expect(first.code).toBe(3);
    expect(first.stderr).toMatch(/\d of the 6 steps of epoch 2/);
    const second = await gradamp(folder, 'train', '--resume', 'late');
    expect(second).toMatchObject({ code: 3, stderr: first.stderr });
    expect(runIn(join(folder, 'late')).files()).not.toContain('summary.json');
  },
);

test(
  'a worker that fails ends the program at once, and not when the next checkpoint is due',
  PATIENCE,
  async () => {
    const settings = ['schedule=[[1, 0.05, false, 1]]'].flatMap((setting) => ['--set', setting]);
    await gradamp(folder, 'train', 'run.yaml', '--out', 'failing', ...settings);
    // Where the worker will want to write a file.
    mkdirSync(join(folder, 'failing', 'gradients', 'step-000008.f32'), { recursive: true });
    const longer = ['schedule=[[2, 0.05, false, 1]]', 'dumpGradients=[8, 8]'].flatMap((setting) => [
      '--set',
      setting,
    ]);
    const started = performance.now();
    const { code, stderr } = await gradamp(folder, 'train', '--resume', 'failing', ...longer);
    expect(code).toBe(1);
    expect(stderr).toMatch(/worker 0 \(cpu\) failed in step 2 of epoch 2: EISDIR/);
    expect(performance.now() - started).toBeLessThan(30_000);
  },
);
