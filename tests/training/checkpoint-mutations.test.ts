// A checkpoint whose bytes were changed at random: it is refused, or is one.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../src/training/checkpoint.ts';
import { encoded, expected, madeUpContent, readBytes, withChecksum } from './checkpoint-fixtures.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/training/checkpoint-mutations: seed ${SEED} (GRADAMP_TEST_SEED)`);

const folder = mkdtempSync(join(tmpdir(), 'gradamp-mutations-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'checkpoint.msgpack');
const read = (bytes: Uint8Array) => readBytes(file, bytes);

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
        const found = await read(mutated(whole, list)).catch((error) => error);
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
        const found = await read(withChecksum(mutated(whole, list))).catch((error) => error);
        if (found instanceof CheckpointError) {
          expect(found.message).not.toMatch(/^checksum/);
          refused++;
          return;
        }
        expect(await read(encoded(found))).toStrictEqual(found);
      }),
      { seed: SEED, numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(100);
  }, 30_000);
});
