// The file of a checkpoint: what is written comes back, and nothing else does.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pack, unpack } from 'msgpackr';
import { afterAll, describe, expect, test } from 'vitest';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import {
  type Checkpoint,
  type CheckpointContent,
  CheckpointError,
  encodeCheckpoint,
  hashConfig,
  readCheckpoint,
  writeCheckpoint,
} from '../../src/training/checkpoint.ts';
import { meanStatistics } from '../../src/training/run-state.ts';
import { madeUpContent, shared } from './checkpoint-fixtures.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/training/checkpoint: seed ${SEED} (GRADAMP_TEST_SEED)`);

const folder = mkdtempSync(join(tmpdir(), 'gradamp-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'checkpoint.msgpack');

const encoded = (content: CheckpointContent): Buffer => Buffer.concat([...encodeCheckpoint(content)]);

async function readBytes(bytes: Uint8Array): Promise<Checkpoint> {
  writeFileSync(file, bytes);
  return readCheckpoint(file);
}

const expected = (content: CheckpointContent) => ({
  format: 'gradamp-checkpoint',
  version: 2,
  config: content.config,
  configHash: hashConfig(content.config),
  trainedOn: content.trainedOn,
  progress: content.progress,
  vectors: content.vectors,
});

describe('a checkpoint comes back as it was', () => {
  test.each([
    ['with accumulators, of two ranks', {}],
    ['without accumulators, of one rank', { analysed: false, ranks: 1 }],
    ['of a run that has done nothing', { epoch: 0, step: 0, analysed: false }],
    ['of odd lengths', { parameters: 1023, statistics: 5, ranks: 3 }],
  ])('%s', async (_, run) => {
    const content = madeUpContent(run);
    const { bytes } = await writeCheckpoint(file, content);
    expect(bytes).toBe(statSync(file).size);
    const checkpoint = await readCheckpoint(file);
    expect(checkpoint).toStrictEqual(expected(content));
    expect(JSON.stringify(checkpoint.progress)).toBe(JSON.stringify(content.progress));
    expect('accumulators' in checkpoint.vectors).toBe(content.vectors.accumulators !== undefined);
    expect(Object.is(checkpoint.progress.measured[0].sums.ratioSum, -0)).toBe(true);
  });

  test('longer than a chunk and a read', async () => {
    const content = madeUpContent({ parameters: 3 * 2 ** 20 + 4 });
    await writeCheckpoint(file, content);
    const { weights, velocity, accumulators } = (await readCheckpoint(file)).vectors;
    const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
      Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    expect(bytes(weights).equals(bytes(content.vectors.weights))).toBe(true);
    expect(bytes(velocity).equals(bytes(content.vectors.velocity))).toBe(true);
    expect(bytes(accumulators!.S).equals(bytes(content.vectors.accumulators!.S))).toBe(true);
    expect(bytes(accumulators!.A).equals(bytes(content.vectors.accumulators!.A))).toBe(true);
  });

  test('every progress, key by key', async () => {
    const base = madeUpContent();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.double(), { maxLength: 9 }),
        fc.array(fc.string({ unit: 'grapheme', maxLength: 300 }), { maxLength: 40 }),
        fc.nat({ max: 2 ** 31 - 1 }),
        async (numbers, names, step) => {
          const measured = numbers.map((netSum) => ({
            ...base.progress.measured[0],
            sums: { ...base.progress.measured[0].sums, netSum },
          }));
          const history = base.progress.history.map((epoch) => ({ ...epoch, amplified: names }));
          const content = { ...base, progress: { ...base.progress, measured, history, step } };
          const { progress } = await readBytes(encoded(content));
          expect(progress).toStrictEqual(content.progress);
          expect(JSON.stringify(progress)).toBe(JSON.stringify(content.progress));
        },
      ),
      { seed: SEED, numRuns: 50 },
    );
  });

  test('an undefined field is absent', async () => {
    const content = madeUpContent();
    const selections = [{ ...content.progress.selections[0], ratio: undefined }];
    const { progress } = await readBytes(
      encoded({ ...content, progress: { ...content.progress, selections } }),
    );
    expect('ratio' in progress.selections[0]).toBe(false);
  });

  test('vectors are views of the bytes that were read, but for the statistics', async () => {
    for (let length = 0; length < 8; length++) {
      const content = { ...madeUpContent(), config: 'x'.repeat(length) };
      const { weights, velocity, accumulators } = (await readBytes(encoded(content))).vectors;
      for (const { buffer } of [velocity, accumulators!.S, accumulators!.A])
        expect(buffer).toBe(weights.buffer);
    }
  });
});

test('any decoder reads the file: bytes, and a checksum of what is in front of it', () => {
  const content = madeUpContent();
  const file = encoded(content);
  const { checksum, ...map } = unpack(file);
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    Buffer.from(Uint8Array.from(Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)));
  const { weights, velocity, statistics, accumulators } = content.vectors;
  const vectors = {
    weights: bytes(weights),
    velocity: bytes(velocity),
    statistics: statistics.map(bytes),
    accumulators: { S: bytes(accumulators!.S), A: bytes(accumulators!.A) },
  };
  expect(map).toStrictEqual({ ...expected(content), vectors });
  expect(map.vectors.weights.readFloatLE(4)).toBe(weights[1]);
  const front = file.subarray(0, file.length - 43);
  expect(checksum).toEqual(createHash('sha256').update(front).digest());
});

test('of resnet101 with momentum it takes 8 bytes a parameter, and the statistics', async () => {
  const graph = buildModel({ name: 'resnet101', width: 1, classes: 10 });
  const vectors = {
    weights: shared(graph.parameterLength, () => 0),
    velocity: shared(graph.parameterLength, () => 0),
    statistics: [initialStatistics(graph)],
  };
  let bytes = 0;
  for (const chunk of encodeCheckpoint({ ...madeUpContent({ analysed: false }), vectors })) {
    bytes += chunk.length;
    expect(chunk.length).toBeLessThanOrEqual(2 ** 22);
  }
  const numbers = 8 * graph.parameterCount + 4 * graph.statisticsLength;
  expect(bytes / numbers).toBeGreaterThan(1);
  expect(bytes / numbers).toBeLessThan(1.01);
});

test('the statistics of a checkpoint are the mean over its ranks', () => {
  const statistics = [Float32Array.of(1, 2), Float32Array.of(2, 6), Float32Array.of(6, 1)];
  expect(meanStatistics({ statistics })).toEqual(Float32Array.of(3, 3));
  expect(meanStatistics({ statistics: statistics.slice(0, 1) })).toBe(statistics[0]);
});

test('a write that fails leaves the old file whole, and nothing beside it', async () => {
  const place = mkdtempSync(join(folder, 'full-'));
  const target = join(place, 'checkpoint.msgpack');
  const content = madeUpContent({ step: 1 });
  await writeCheckpoint(target, content);
  symlinkSync('/dev/full', `${target}.tmp`);
  const write = writeCheckpoint(target, madeUpContent({ step: 2, parameters: 2 ** 20 }));
  await expect(write).rejects.toThrow(/ENOSPC/);
  expect(readdirSync(place)).toEqual(['checkpoint.msgpack']);
  expect(await readCheckpoint(target)).toStrictEqual(expected(content));
});

const TRAILER = 43;

/** The same bytes with the checksum that they should have. */
function withChecksum(bytes: Buffer): Buffer {
  const front = bytes.subarray(0, Math.max(0, bytes.length - TRAILER));
  const digest = createHash('sha256').update(front).digest();
  return Buffer.concat([front, Buffer.from('\xa8checksum\xc4\x20', 'latin1'), digest]);
}

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
    const refusal = await readBytes(bytes()).catch((error) => error);
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
    const refusal = await readBytes(repacked(change)).catch((error) => error);
    expect(refusal).toBeInstanceOf(CheckpointError);
    expect(refusal.message).toMatch(/^unexpected content: /);
    expect(refusal.message).toMatch(message);
  });

  test('a million wrong elements, in the time that the first takes', async () => {
    const bytes = repacked((map) => void Object.assign(map.progress, { measured: Array(1e6).fill(null) }));
    const { user } = process.cpuUsage();
    await expect(readBytes(bytes)).rejects.toThrow(
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

type Mutation = (bytes: Buffer) => Buffer;

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const within = (bytes: Buffer, share: number) => Math.floor(share * bytes.length);
const mutations: fc.Arbitrary<Mutation> = fc.oneof(
  // A bit flips.
  fc.tuple(place, fc.nat({ max: 7 })).map(
    ([share, bit]): Mutation =>
      (bytes) => {
        const flipped = Buffer.from(bytes);
        flipped[within(bytes, share)] ^= 1 << bit;
        return flipped;
      },
  ),
  // One of the headers, most of which are in front, is another.
  fc.tuple(place, fc.nat({ max: 255 })).map(
    ([share, value]): Mutation =>
      (bytes) => {
        const changed = Buffer.from(bytes);
        changed[within(bytes.subarray(0, 3000), share)] = value;
        return changed;
      },
  ),
  place.map(
    (share): Mutation =>
      (bytes) =>
        bytes.subarray(0, within(bytes, share)),
  ),
  fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 64 })).map(
    ([share, inserted]): Mutation =>
      (bytes) => {
        const split = within(bytes, share);
        return Buffer.concat([bytes.subarray(0, split), inserted, bytes.subarray(split)]);
      },
  ),
  // Parts change places.
  fc.tuple(place, place, place).map(
    (shares): Mutation =>
      (bytes) => {
        const [a, b, c] = shares.map((share) => within(bytes, share)).sort((x, y) => x - y);
        const parts = [bytes.subarray(0, a), bytes.subarray(b, c), bytes.subarray(a, b), bytes.subarray(c)];
        return Buffer.concat(parts);
      },
  ),
);

describe('a file that was changed', () => {
  const content = madeUpContent({ parameters: 256, statistics: 12 });
  const whole = encoded(content);
  const mutated = (bytes: Buffer, list: readonly Mutation[]) => list.reduce((b, mutate) => mutate(b), bytes);

  test('is refused, or is equal', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(mutations, { minLength: 1, maxLength: 3 }), async (list) => {
        const found = await readBytes(mutated(whole, list)).catch((error) => error);
        if (found instanceof CheckpointError) return;
        expect(found).toStrictEqual(expected(content));
      }),
      { seed: SEED, numRuns: 300 },
    );
  }, 30_000);

  test('is refused, or is a checkpoint like any other, where its checksum is right', async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(mutations, { minLength: 1, maxLength: 3 }), async (list) => {
        const found = await readBytes(withChecksum(mutated(whole, list))).catch((error) => error);
        if (found instanceof CheckpointError) {
          expect(found.message).not.toMatch(/^checksum/);
          refused++;
          return;
        }
        expect(await readBytes(encoded(found))).toStrictEqual(found);
      }),
      { seed: SEED, numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(100);
    expect(existsSync(file)).toBe(true);
    expect(readFileSync(file).length).toBeGreaterThan(0);
  }, 30_000);
});
