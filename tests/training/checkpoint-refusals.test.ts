// Files that are no checkpoint of ours: each is refused with a line that says what is wrong.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack, unpack } from 'msgpackr';
import { afterAll, describe, expect, test } from 'vitest';
import { CheckpointError, readCheckpoint } from '../../src/training/checkpoint.ts';
import { encoded, madeUpContent, readBytes, TRAILER, withChecksum } from './checkpoint-fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-refusals-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'checkpoint.msgpack');
const read = (bytes: Uint8Array) => readBytes(file, bytes);

/** A checkpoint with some of it replaced, packed by another packer. */
function repacked(change: (map: ReturnType<typeof unpack>) => unknown): Buffer {
  const map = unpack(encoded(madeUpContent()));
  const changed = change(map) ?? map;
  return withChecksum(pack(changed));
}

describe('refused', () => {
  const whole = encoded(madeUpContent());
  const at = (position: number, bit: number) => {
    const bytes = Buffer.from(whole);
    bytes[position] ^= bit;
    return bytes;
  };
  /** 100 bytes and a checksum, of which some say that 4 GB follow. */
  const claim = (...header: number[]) => {
    const front = Buffer.from(whole.subarray(0, whole.indexOf('config')));
    const bytes = Buffer.concat([front, Buffer.from('config'), Buffer.from(header)]);
    return withChecksum(Buffer.concat([bytes, Buffer.alloc(100 + TRAILER - bytes.length)]));
  };
  test.each<[string, () => Buffer, RegExp]>([
    ['an empty file', () => Buffer.alloc(0), /^truncated: expected a checkpoint, got 0 bytes$/],
    [
      'text',
      () => Buffer.from('no checkpoint'),
      /^no checkpoint: expected a map that starts with the format/,
    ],
    ['another map', () => pack({ version: 2, format: 'gradamp-checkpoint' }), /^no checkpoint: /],
    ['another format', () => pack({ format: 'other', version: 2, more: 'x'.repeat(99) }), /^no checkpoint: /],
    ['no version', () => pack({ format: 'gradamp-checkpoint', version: 'two' }), /^no checkpoint: /],
    [
      'a newer version',
      () => pack({ format: 'gradamp-checkpoint', version: 3, entries: [] }),
      /^version 3 is newer than this gradamp, which reads version 2; use/,
    ],
    [
      'an older version',
      () => pack({ format: 'gradamp-checkpoint', version: 1, weights: Buffer.alloc(99) }),
      /^version 1 is older than this gradamp, which reads version 2; use/,
    ],
    ['its first bytes', () => whole.subarray(0, 20), /^truncated: expected a checkpoint, got 20 bytes$/],
    ['half of it', () => whole.subarray(0, whole.length / 2), /^truncated: expected a checksum at the end/],
    ['all but a byte', () => whole.subarray(0, -1), /^truncated: expected a checksum at the end/],
    ['a bit of the weights', () => at(whole.length >> 1, 4), /^checksum differs: the file is not as it was/],
    ['a bit of the checksum', () => at(whole.length - 1, 128), /^checksum differs: /],
    [
      'a promise of bytes',
      () => claim(0xc6, 255, 255, 255, 255),
      /^unexpected content: expected 4294967295 bytes/,
    ],
    [
      'a promise of elements',
      () => claim(0xdd, 255, 255, 255, 255),
      /^unexpected content: expected 4294967295/,
    ],
    ['a promise of entries', () => claim(0xdf, 2, 0, 0, 0), /^unexpected content: expected 67108864 bytes/],
    ['a promise of text', () => claim(0xdb, 255, 255, 255, 255), /^unexpected content: expected 4294967295/],
    [
      'levels without end',
      () => claim(...Array(40).fill(0x91)),
      /^unexpected content: expected at most 32 levels/,
    ],
    [
      'more behind the map',
      () => withChecksum(Buffer.concat([whole, whole])),
      /^unexpected content: expected noth/,
    ],
  ])('%s', async (_, bytes, message) => {
    const refusal = await read(bytes()).catch((error) => error);
    expect(refusal).toBeInstanceOf(CheckpointError);
    expect(refusal.name).toBe('CheckpointError');
    expect(refusal.message).toMatch(message);
    expect(refusal.message).not.toMatch(/\n/);
  });

  test.each<[string, (map: ReturnType<typeof unpack>) => unknown, RegExp]>([
    [
      'the config of another',
      (map) => Object.assign(map, { config: 'a: 1' }),
      /configHash: expected that of/,
    ],
    ['an entry too few', ({ trainedOn: _, ...map }) => map, /trainedOn: /],
    ['an entry too many', ({ checksum, ...map }) => ({ ...map, more: 1, checksum }), /the map: /],
    [
      'a text for a number',
      (map) => void Object.assign(map.progress, { step: '3' }),
      /progress\.step: expected a whole number/,
    ],
    [
      'a step below 0',
      (map) => void Object.assign(map.progress, { step: -3 }),
      /progress\.step: expected a whole number of at/,
    ],
    ['a hole', (map) => void map.progress.history.splice(1, 1, null), /progress\.history\.1: /],
    ['a number for a map', (map) => Object.assign(map, { progress: 0 }), /: progress: expected a map$/],
    [
      'another key',
      (map) => void Object.assign(map.vectors, { ['a\n'.repeat(999)]: 1 }),
      /: vectors: expected only weights, velocity, statistics, accumulators$/,
    ],
    [
      'timings of less',
      (map) => void map.progress.timings.pop(),
      /progress\.timings: expected 2, as many as epochs, got 1/,
    ],
    [
      'epochs out of turn',
      (map) => void map.progress.history.reverse(),
      /expected epoch 1 in place 0, got 2/,
    ],
    [
      'totals of less',
      (map) => void map.progress.totals.pop(),
      /statistics: expected 1 or 1, as many as totals, got 2/,
    ],
    [
      'no statistics',
      (map) => void Object.assign(map.vectors, { statistics: [] }),
      /vectors\.statistics: expected one vector or more/,
    ],
    [
      'statistics of two lengths',
      (map) => void map.vectors.statistics.splice(1, 1, Buffer.alloc(4)),
      /of one length/,
    ],
    [
      'thirds of a number',
      (map) => void Object.assign(map.vectors, { weights: Buffer.alloc(4095) }),
      /vectors\.weights: expected whole/,
    ],
    [
      'momentum of less',
      (map) => void Object.assign(map.vectors, { velocity: Buffer.alloc(8) }),
      /expected velocity of 4096 bytes, as weights, got 8/,
    ],
    [
      'numbers for bytes',
      (map) => void Object.assign(map.vectors, { weights: [1, 2] }),
      /vectors\.weights: expected bytes/,
    ],
    [
      'S without A',
      (map) => void Reflect.deleteProperty(map.vectors.accumulators, 'A'),
      /vectors\.accumulators\.A: /,
    ],
  ])('%s', async (_, change, message) => {
    const refusal = await read(repacked(change)).catch((error) => error);
    expect(refusal).toBeInstanceOf(CheckpointError);
    expect(refusal.message).toMatch(/^unexpected content: /);
    expect(refusal.message).toMatch(message);
  });

  test('a million wrong elements, in the time that the first takes', async () => {
    const bytes = repacked((map) => void Object.assign(map.progress, { measured: Array(1e6).fill(null) }));
    const { user } = process.cpuUsage();
    await expect(read(bytes)).rejects.toThrow(
      new CheckpointError('unexpected content: progress.measured.0: expected a map'),
    );
    expect(process.cpuUsage().user - user).toBeLessThan(2e6);
  });

  test('a folder; a file that is not there is told by the system', async () => {
    await expect(readCheckpoint(folder)).rejects.toThrow(
      new CheckpointError('no checkpoint: expected a file'),
    );
    await expect(readCheckpoint(join(folder, 'none'))).rejects.toThrow(/ENOENT/);
  });

  test('64 GiB of nothing behind the right start, without a try to read it', async () => {
    const large = join(folder, 'large');
    writeFileSync(large, whole);
    truncateSync(large, 2 ** 36);
    await expect(readCheckpoint(large)).rejects.toThrow(/^truncated: expected a checksum/);
    rmSync(large);
  });
});
