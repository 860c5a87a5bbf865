// What `train` makes of a folder that holds a run: goes on, has nothing left to do, or refuses.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn } from './program.ts';

const SHORT = 'schedule=[[1, 0.05, false, 1], [2, 0.02, false, 1]]';
const LONGER = 'schedule=[[1, 0.05, false, 1], [3, 0.02, false, 1]]';
let folder: string;
let run: ReturnType<typeof runIn>;
const contents = () => run.files().map((name) => [name, readFileSync(run.file(name), 'latin1')]);
beforeAll(async () => {
  folder = await folderOfRuns();
  run = runIn(join(folder, 'run'));
  mkdirSync(join(folder, 'other'));
  writeFileSync(join(folder, 'other', 'thesis.tex'), '');
  const end = await gradamp(folder, 'train', 'run.yaml', '--out', 'run', '--set', SHORT);
  expect(end).toMatchObject({ code: 0, stderr: '' });
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

const ANOTHER = 'run/config.yaml: expected the config that the run was started with, got';
const MAY =
  'epochs to come, devices, engine and what is kept of a run may change, for anything else start a new one with --out';

describe('is one line, exit code 2, and nothing is written:', () => {
  test.each([
    [['--resume', 'nowhere'], '--resume: expected the folder of a run, found nothing in nowhere'],
    [['--resume', 'other'], '--resume: expected the folder of a run, found no config.yaml in other'],
    [['--resume', 'run', '--out', 'new'], '--out: expected no other folder beside --resume; leave it out'],
    [
      ['--resume', 'run', '--init', 'x.safetensors'],
      '--init: expected a new run, got --resume; leave one of the two out',
    ],
    [['--resume', 'run', '--set', 'batchSize=12'], `${ANOTHER} batchSize 12 in place of 10; ${MAY}`],
    [
      ['--resume', 'run', '--set', 'schedule=[[1, 0.04, false, 1], [2, 0.02, false, 1]]'],
      `${ANOTHER} schedule `,
    ],
    [
      ['--resume', 'run', '--set', 'schedule=[[1, 0.04, false, 1], [3, 0.02, false, 1]]'],
      'run/checkpoint.msgpack: expected the config that the run was started with, got schedule ',
    ],
    [
      ['run.yaml', '--out', 'run', '--set', SHORT, '--set', 'resume=auto', '--set', 'batchSize=12'],
      `${ANOTHER} batchSize 12 in place of 10; ${MAY}`,
    ],
    [
      ['run.yaml', '--set', 'checkpoint.keep=0'],
      '--set: checkpoint.keep: expected a whole number of at least 1, got 0',
    ],
    [['run.yaml', '--set', 'resume=always'], '--set: resume: expected never or auto, got "always"'],
    [[], 'config: expected a YAML file, got none; for example configs/quickstart.yaml, or --resume <run>'],
  ])('train %j', async (options, message) => {
    const before = contents();
    const { code, stdout, stderr } = await gradamp(folder, 'train', ...options);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^gradamp: .*\n$/);
    if (message.endsWith(' ')) expect(stderr).toContain(`gradamp: ${message}`);
    else expect(stderr).toBe(`gradamp: ${message}\n`);
    expect(contents()).toEqual(before);
    expect(runIn(folder).files()).toEqual(['data', 'other', 'run', 'run.yaml']);
    expect(runIn(join(folder, 'other')).files()).toEqual(['thesis.tex']);
  });
});

test('a complete run has nothing left to do, and exit code 0', async () => {
  const before = contents();
  const summary = JSON.parse(run.text('summary.json'));
  const resumed = await gradamp(folder, 'train', '--resume', 'run');
  expect(resumed).toMatchObject({ code: 0, stderr: '' });
  expect(resumed.stdout).toMatch(/^nothing left to do; done: 2 epochs in .*; files in run\n$/);
  const again = await gradamp(
    folder,
    'train',
    'run.yaml',
    '--out',
    'run',
    '--set',
    SHORT,
    '--set',
    'resume=auto',
    '--json',
  );
  expect(again).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(again.stdout)).toEqual({ directory: 'run', ...summary });
  expect(contents()).toEqual(before);
});

test('a complete run goes on with a longer schedule, as if it had always been that', PATIENCE, async () => {
  const longer = await gradamp(folder, 'train', '--resume', 'run', '--set', LONGER);
  expect(longer).toMatchObject({ code: 0, stderr: '' });
  expect(longer.stdout).toContain('\ngoes on after epoch 2 (checkpoint.msgpack)\nchanged: schedule ');
  expect(longer.stdout).toMatch(/\ndone: 3 epochs in .*; files in run\n$/);
  await gradamp(folder, 'train', 'run.yaml', '--out', 'whole', '--set', LONGER);
  const whole = runIn(join(folder, 'whole'));
  expect(whole.epochs()).toBe(3);
  expect(run.text('metrics.jsonl')).toBe(whole.text('metrics.jsonl'));
});
