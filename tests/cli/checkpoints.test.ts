// Checkpoints that cannot be read: the run goes on from the one before, and says which and why.

import { copyFileSync, cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { folderOfRuns, gradamp, PATIENCE, removeFolder, runIn, start, until } from './program.ts';

let folder: string;
let whole: ReturnType<typeof runIn>;
/** Stopped behind two epochs or more, with two checkpoints. */
let stopped: ReturnType<typeof runIn>;
let kept: string;
beforeAll(async () => {
  folder = await folderOfRuns();
  whole = runIn(join(folder, 'whole'));
  stopped = runIn(join(folder, 'stopped'));
  expect(await gradamp(folder, 'train', 'run.yaml', '--out', 'whole')).toMatchObject({ code: 0, stderr: '' });
  const program = start(folder, 'train', 'run.yaml', '--out', 'stopped');
  await until(program, 'two checkpoints', () => stopped.log('checkpoint').length >= 2);
  program.child.kill('SIGTERM');
  expect(await program.ended).toMatchObject({ code: 143 });
  kept = stopped.files().find((name) => name.startsWith('checkpoint-'))!;
}, PATIENCE.timeout);
afterAll(() => removeFolder(folder));

/** The stopped run once more, in a folder of its own. */
function copy(name: string) {
  const run = runIn(join(folder, name));
  cpSync(stopped.directory, run.directory, { recursive: true });
  return run;
}

/** Of the file, as programs of other versions would have written it. */
function setVersion(file: string, version: number): void {
  const bytes = readFileSync(file);
  bytes[bytes.indexOf('version') + 'version'.length] = version;
  writeFileSync(file, bytes);
}

function flipByte(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(file, bytes);
}

const OTHER = (version: number, age: string) =>
  `version ${version} is ${age} than this gradamp, which reads version 2; use the gradamp that wrote it`;

test.each<[string, (file: string) => void, string]>([
  ['is corrupt', flipByte, 'checksum differs: the file is not as it was written'],
  [
    'is truncated',
    (file) => truncateSync(file, 3000),
    'truncated: expected a checksum at the end of the file, of 3000 bytes',
  ],
  ['is of an older version', (file) => setVersion(file, 1), OTHER(1, 'older')],
  ['is of a newer version', (file) => setVersion(file, 9), OTHER(9, 'newer')],
])('where the last one %s, the kept one is gone on from', PATIENCE, async (title, spoil, reason) => {
  const run = copy(title.replaceAll(' ', '-'));
  spoil(run.file('checkpoint.msgpack'));
  const { code, stdout, stderr } = await gradamp(folder, 'train', '--resume', run.directory);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [resumed] = run.log('resume');
  const [, epoch, step] = kept.match(/-(\d+)-(\d+)/)!.map(Number);
  expect(resumed).toMatchObject({
    ...{ level: 'warning', file: kept, epoch, step },
    refused: [{ file: 'checkpoint.msgpack', reason }],
  });
  expect(stdout).toContain(
    `\nwarning: checkpoint.msgpack cannot be used (${resumed.refused[0].reason}); an older one takes its place\ngoes on after `,
  );
  for (const file of ['metrics.jsonl', 'metrics.csv', 'selections.jsonl']) {
    expect(run.text(file)).toBe(whole.text(file));
  }
});

test('where none can be read, that is one line and exit code 2, and nothing is written', async () => {
  const run = copy('none');
  truncateSync(run.file('checkpoint.msgpack'), 10);
  copyFileSync(run.file('checkpoint.msgpack'), run.file(kept));
  const before = run.files().map((name) => [name, readFileSync(run.file(name), 'utf8')]);
  const reason = 'truncated: expected a checkpoint, got 10 bytes';
  expect(await gradamp(folder, 'train', '--resume', 'none')).toEqual({
    ...{ code: 2, signal: null, stdout: '' },
    stderr: `gradamp: none: expected a checkpoint that can be read, got checkpoint.msgpack: ${reason}; ${kept}: ${reason}; start the run anew in another folder\n`,
  });
  expect(run.files().map((name) => [name, readFileSync(run.file(name), 'utf8')])).toEqual(before);
});
