// A learning rate that no training survives.

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { folderOfRuns, gradamp, removeFolder, runIn } from './program.ts';

let folder: string;
beforeAll(async () => {
  folder = await folderOfRuns();
});
afterAll(() => removeFolder(folder));

test('a run that diverges ends with exit code 3 and one line that names the layer, and is not restarted', async () => {
  const settings = ['schedule=[[3, 1e30, false, 1]]', 'skipLimit=2', 'restarts=2'];
  const options = settings.flatMap((setting) => ['--set', setting]);
  const { code, stderr } = await gradamp(folder, 'train', 'run.yaml', '--out', 'run', ...options);
  console.log(stderr);
  expect(code).toBe(3);
  expect(stderr).toMatch(
    /^gradamp: training diverged: .* of \w[\w.]* at step \d of epoch 1; lower the learning rate or the amplification factor\n$/,
  );
  const run = runIn(join(folder, 'run'));
  expect(run.log('start')).toHaveLength(1);
  expect(run.log('error')).toMatchObject([{ name: 'DivergedError', message: stderr.slice(9, -1) }]);
});
