// The file of a checkpoint: what is written comes back, for us and for others. What does not: checkpoint-refusals.test.ts.

import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { unpack } from 'msgpackr';
import { afterAll, describe, expect, test } from 'vitest';
import { buildModel } from '../../src/models/index.ts';
import { initialStatistics } from '../../src/models/initialise.ts';
import { encodeCheckpoint, readCheckpoint, writeCheckpoint } from '../../src/training/checkpoint.ts';
import { encoded, expected, madeUpContent, readBytes, shared, TRAILER } from './checkpoint-fixtures.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/training/checkpoint: seed ${SEED} (GRADAMP_TEST_SEED)`);

const folder = mkdtempSync(join(tmpdir(), 'gradamp-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'checkpoint.msgpack');
const read = (bytes: Uint8Array) => readBytes(file, bytes);

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
          const { progress } = await read(encoded(content));
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
    const { progress } = await read(encoded({ ...content, progress: { ...content.progress, selections } }));
    expect('ratio' in progress.selections[0]).toBe(false);
  });

  test('vectors are views of the bytes that were read, but for the statistics', async () => {
    for (let length = 0; length < 8; length++) {
      const content = { ...madeUpContent(), config: 'x'.repeat(length) };
      const { weights, velocity, accumulators } = (await read(encoded(content))).vectors;
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
  const front = file.subarray(0, file.length - TRAILER);
  expect(checksum).toEqual(createHash('sha256').update(front).digest());
});

test('of resnet101 with momentum it takes 8 bytes a parameter, and the statistics', async () => {
  const graph = buildModel({ name: 'resnet101', width: 1, classes: 10 });
  const vectors = {
    weights: shared(graph.parameterLength),
    velocity: shared(graph.parameterLength),
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
