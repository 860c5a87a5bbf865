// Which checkpoints a run's folder holds, and which of them is gone on from.

import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { CheckpointError } from '../../src/training/checkpoint.ts';
import { Checkpoints, newestCheckpoint } from '../../src/training/checkpoints.ts';
import { madeUpContent } from './checkpoint-fixtures.ts';

vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  return { ...fs, link: vi.fn(fs.link), rename: vi.fn(fs.rename) };
});
const { link, rename } = vi.mocked(await import('node:fs/promises'));

const parent = mkdtempSync(join(tmpdir(), 'gradamp-checkpoints-'));
afterAll(() => rmSync(parent, { recursive: true }));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(parent, 'run-'));
});

const CURRENT = 'checkpoint.msgpack';
const at = (epoch: number, step = 0) => madeUpContent({ epoch, step, parameters: 64, statistics: 4 });
const names = () => readdirSync(folder).sort();
/** What a run goes on from. */
async function found() {
  const { checkpoint, ...rest } = (await newestCheckpoint(folder))!;
  return { ...rest, progress: checkpoint.progress };
}
const damage = (name: string) => truncateSync(join(folder, name), 100);

async function writeAll(keep: number, ...positions: [epoch: number, step?: number][]): Promise<Checkpoints> {
  const checkpoints = new Checkpoints(folder, keep);
  for (const [epoch, step] of positions) await checkpoints.write(at(epoch, step));
  return checkpoints;
}

async function newest() {
  const found = await newestCheckpoint(folder);
  const { history, step } = found!.checkpoint.progress;
  return { file: found!.file, epoch: history.length, step, refused: found!.refused };
}

const noLink = Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM' });

describe('what stays', () => {
  test('of keep 1 is the last alone', async () => {
    await writeAll(1, [0, 5], [1], [2]);
    expect(names()).toEqual([CURRENT]);
    expect(await newest()).toEqual({ file: CURRENT, epoch: 2, step: 0, refused: [] });
  });

  test('of keep 3 are the last and the two before it, named by where they stand', async () => {
    await writeAll(3, [0, 5], [1], [1, 123456]);
    expect(names()).toEqual(['checkpoint-0000-000005.msgpack', 'checkpoint-0001-000000.msgpack', CURRENT]);
    await writeAll(3, [2], [3]);
    expect(names()).toContain('checkpoint-0002-000000.msgpack');
  });

  test('is by position, not by time, and the oldest goes when the new one is whole', async () => {
    await writeAll(2, [9], [10], [12_345], [12_346]);
    expect(names()).toEqual(['checkpoint-12345-000000.msgpack', CURRENT]);
  });

  test('is the same bytes under a second name', async () => {
    const checkpoints = await writeAll(2, [1]);
    const { ino } = statSync(join(folder, CURRENT));
    await checkpoints.write(at(2));
    expect(statSync(join(folder, 'checkpoint-0001-000000.msgpack')).ino).toBe(ino);
  });

  test('is a copy where there are no links', async () => {
    const checkpoints = await writeAll(2, [1]);
    const bytes = readFileSync(join(folder, CURRENT));
    link.mockRejectedValueOnce(noLink);
    await checkpoints.write(at(2));
    expect(readFileSync(join(folder, 'checkpoint-0001-000000.msgpack'))).toEqual(bytes);
    expect(names()).toHaveLength(2);
  });

  test('is the new one alone where there is no room for a copy either', async () => {
    const checkpoints = await writeAll(2, [1]);
    link.mockRejectedValueOnce(noLink);
    // The copy's; by then it lies beside, whole.
    rename.mockRejectedValueOnce(
      Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }),
    );
    await checkpoints.write(at(2));
    expect(names()).toEqual([CURRENT]);
    expect(await newest()).toMatchObject({ epoch: 2 });
  });

  test('is not written twice under one position', async () => {
    await writeAll(3, [1], [1]);
    expect(names()).toEqual([CURRENT]);
  });

  test('are no leftovers of writes that were cut off; files of others are', async () => {
    for (const name of [`${CURRENT}.tmp`, 'checkpoint-0001-000000.msgpack.tmp', 'summary.json.tmp']) {
      writeFileSync(join(folder, name), 'part of it');
    }
    await writeAll(2, [1]);
    expect(names()).toEqual([CURRENT, 'summary.json.tmp']);
  });

  test('tells how large the file is', async () => {
    const { bytes } = await new Checkpoints(folder, 1).write(at(1));
    expect(bytes).toBe(statSync(join(folder, CURRENT)).size);
  });
});

describe('the newest', () => {
  test('is none of an empty folder, and leftovers are none', async () => {
    writeFileSync(join(folder, `${CURRENT}.tmp`), 'part of it');
    writeFileSync(join(folder, 'best.msgpack'), 'another');
    expect(await newestCheckpoint(folder)).toBeUndefined();
    await expect(newestCheckpoint(join(folder, 'none'))).rejects.toThrow(/ENOENT/);
  });

  test('is the newest that can be read, and it is told why others are not', async () => {
    await writeAll(4, [1], [2], [2, 7], [3]);
    damage(CURRENT);
    damage('checkpoint-0002-000007.msgpack');
    const reason = 'truncated: expected a checksum at the end of the file, of 100 bytes';
    expect(await newest()).toEqual({
      ...{ file: 'checkpoint-0002-000000.msgpack', epoch: 2, step: 0 },
      refused: [
        { file: CURRENT, reason },
        { file: 'checkpoint-0002-000007.msgpack', reason },
      ],
    });
  });

  test('is found where the last one is missing', async () => {
    await writeAll(3, [1], [2], [3]);
    rmSync(join(folder, CURRENT));
    expect(await newest()).toMatchObject({ file: 'checkpoint-0002-000000.msgpack', epoch: 2, refused: [] });
  });

  test('is an error with every reason where none can be read', async () => {
    await writeAll(2, [1], [2]);
    for (const name of names()) damage(name);
    const refusal = await newestCheckpoint(folder).catch((error) => error);
    expect(refusal).toBeInstanceOf(CheckpointError);
    expect(refusal.message).toMatch(
      /^expected a checkpoint that can be read, got checkpoint\.msgpack: truncated: .*; checkpoint-0001-000000\.msgpack: truncated: /,
    );
  });
});

describe('a run that goes on', () => {
  test('keeps what it goes on from', async () => {
    await writeAll(2, [1], [2]);
    const checkpoints = new Checkpoints(folder, 2, await found());
    await checkpoints.write(at(3));
    expect(names()).toEqual(['checkpoint-0002-000000.msgpack', CURRENT]);
  });

  test('puts those aside that could not be read, and keeps the older one that it goes on from', async () => {
    await writeAll(4, [1], [2], [3], [4]);
    for (const name of [CURRENT, 'checkpoint-0003-000000.msgpack']) damage(name);
    const checkpoints = new Checkpoints(folder, 4, await found());
    await checkpoints.write(at(2, 5));
    const aside = names().filter((name) => name.endsWith('.refused'));
    expect(aside).toEqual(['checkpoint-0003-000000.msgpack.refused', `${CURRENT}.refused`]);
    for (const name of aside) {
      expect(statSync(join(folder, name)).size).toBe(100);
      rmSync(join(folder, name));
    }
    expect(names()).toEqual(['checkpoint-0001-000000.msgpack', 'checkpoint-0002-000000.msgpack', CURRENT]);
    await checkpoints.write(at(3));
    await checkpoints.write(at(4));
    expect(names()).toEqual([
      'checkpoint-0002-000000.msgpack',
      'checkpoint-0002-000005.msgpack',
      'checkpoint-0003-000000.msgpack',
      CURRENT,
    ]);
  });

  test('with a smaller keep lets the oldest go', async () => {
    await writeAll(4, [1], [2], [3], [4]);
    const checkpoints = new Checkpoints(folder, 1, await found());
    await checkpoints.write(at(5));
    expect(names()).toEqual([CURRENT]);
  });
});
