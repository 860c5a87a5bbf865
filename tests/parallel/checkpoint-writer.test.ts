// The order of a run's writes, and what becomes of one that fails.

import { expect, test } from 'vitest';
import { type CheckpointFailure, CheckpointWriter } from '../../src/parallel/checkpoint-writer.ts';

/** A writer of files `a` and `b` on a disk that refuses those in `full`. */
function onDisk(...full: string[]) {
  const refused = new Set(full);
  const tries: string[] = [];
  const failures: CheckpointFailure[] = [];
  const writer = new CheckpointWriter((failure) => failures.push(failure));
  const submit = (file: string, epoch: number) =>
    writer.submit({ file, epoch, step: 0 }, async () => {
      tries.push(`${file}${epoch}`);
      await new Promise(setImmediate);
      if (refused.has(file)) throw new Error('no space');
    });
  return { writer, submit, tries, failures, refused };
}

test('a newer write of a file takes the place of one that waits, and its turn is behind the others', async () => {
  const { writer, submit, tries } = onDisk();
  for (const [file, epoch] of [
    ['a', 1],
    ['a', 2],
    ['b', 2],
    ['a', 3],
  ] as const)
    submit(file, epoch);
  await writer.settled();
  expect(tries).toEqual(['a1', 'b2', 'a3']);
  expect(writer.holds({ file: 'a', epoch: 3, step: 0 })).toBe(true);
  expect(writer.holds({ file: 'a', epoch: 1, step: 0 })).toBe(false);
});

test('one that failed is tried again with the next of another file, before it, until it is written', async () => {
  const { writer, submit, tries, failures, refused } = onDisk('b');
  submit('b', 1);
  submit('a', 1);
  await writer.idle();
  submit('a', 2);
  await writer.idle();
  refused.clear();
  submit('a', 3);
  await writer.idle();
  submit('a', 4);
  await writer.settled();
  expect(tries).toEqual(['b1', 'a1', 'b1', 'a2', 'b1', 'a3', 'a4']);
  expect(failures).toMatchObject([
    { file: 'b', epoch: 1, repeated: false },
    { file: 'b', epoch: 1, repeated: true },
  ]);
  expect(writer.holds({ file: 'b', epoch: 1, step: 0 })).toBe(true);
});

test('one that failed gives way to a newer one, be it submitted before or behind the failure', async () => {
  const { writer, submit, tries, refused } = onDisk('b');
  submit('b', 1);
  submit('b', 2);
  await writer.idle();
  submit('b', 3);
  await writer.idle();
  refused.clear();
  await writer.settled();
  expect(tries).toEqual(['b1', 'b2', 'b3', 'b3']);
});

test('what fails to the end is tried once more there, and told as an error', async () => {
  const { writer, submit, tries } = onDisk('a');
  submit('b', 1);
  submit('a', 1);
  await expect(writer.settled()).rejects.toThrow(
    'a could not be written: no space; the one before it stays, from which --resume goes on',
  );
  expect(tries).toEqual(['b1', 'a1', 'a1']);
});
