// A learning rate that no training survives.

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
