// The packer writes what others read, and the unpacker reads it back.

import fc from 'fast-check';
import { unpack } from 'msgpackr';
import { expect, test } from 'vitest';
import { BYTES_HEADER, Packer, UnpackError, Unpacker } from '../../src/training/msgpack.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/training/msgpack: seed ${SEED} (GRADAMP_TEST_SEED)`);

function packed(value: unknown): Uint8Array {
  const packer = new Packer();
  packer.value(value);
  return packer.take();
}

const unpacked = (bytes: Uint8Array) => new Unpacker(bytes).value();

test('plain data comes back as it was, and another decoder reads it', () => {
  const numbers = fc.oneof(
    fc.double(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.constantFrom(-0, 127, 128, -32, -33),
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      ...[numbers, fc.string({ unit: 'binary', maxLength: 300 }), fc.boolean(), fc.constant(null)],
      fc.array(tie('tree'), { maxLength: 40 }),
      fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 40 }), tie('tree'), {
        maxKeys: 40,
        noNullPrototype: true,
      }),
    ),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const bytes = packed(value);
      expect(unpacked(bytes)).toStrictEqual(value);
      expect(JSON.stringify(unpacked(bytes))).toBe(JSON.stringify(value));
      // It renames `__proto__`.
      if (!JSON.stringify(value).includes('__proto__')) expect(unpack(bytes)).toStrictEqual(value);
    }),
    { seed: SEED, numRuns: 300 },
  );
});

test.each([0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])('strings, arrays and maps of %i', (size) => {
  const text = 'a'.repeat(size);
  const array = Array(size).fill(1);
  const map = Object.fromEntries(array.map((value, i) => [`k${i}`, value]));
  for (const value of [text, array, map]) {
    expect(unpacked(packed(value))).toEqual(value);
    expect(unpack(packed(value))).toEqual(value);
  }
});

test.each([0, 1, 2])('a string whose header is longer by %i bytes is the same string', (extra) => {
  const packer = new Packer();
  packer.string('weights', extra);
  expect(packer.length).toBe(8 + extra);
  const bytes = packer.take();
  expect(unpacked(bytes)).toBe('weights');
  expect(unpack(bytes)).toBe('weights');
});

test('bytes are a view of those that were read', () => {
  const packer = new Packer();
  packer.bytesHeader(3);
  expect(packer.length).toBe(BYTES_HEADER);
  const bytes = Buffer.concat([packer.take(), Buffer.of(1, 2, 3)]);
  const vector = unpacked(bytes) as Uint8Array;
  expect([...vector]).toEqual([1, 2, 3]);
  expect(vector.buffer).toBe(bytes.buffer);
  expect(() => packer.bytesHeader(2 ** 32)).toThrow(
    'expected a vector of less than 4 GiB, got 4294967296 bytes',
  );
});

test.each<[string, number[], string, boolean]>([
  ['no bytes', [], 'expected 1 bytes more at 0, got 0', true],
  ['part of a number', [0xcb, 1, 2], 'expected 8 bytes more at 1, got 2', true],
  ['an unused token', [0x91, 0xc1], 'unexpected byte 0xc1 at 1', false],
  ['an extension', [0xd4, 0, 0], 'unexpected byte 0xd4 at 0', false],
  ['a number as a key', [0x81, 1, 2], 'expected keys that are strings, got number', false],
  ['a key twice', [0x82, 0xa1, 97, 1, 0xa1, 97, 2], 'expected keys that differ', false],
  ['bytes that are no UTF-8', [0xa1, 0xff], 'expected strings of UTF-8', false],
])('%s: refused', (_, bytes, message, early) => {
  const refusal = (() => {
    try {
      return unpacked(Uint8Array.from(bytes));
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toBeInstanceOf(UnpackError);
  expect(refusal).toMatchObject({ message, early });
});

test('a key `__proto__` is a key', () => {
  const map = unpacked(Buffer.from('\x81\xa9__proto__\x81\xa1a\x01', 'latin1')) as object;
  expect(Object.getPrototypeOf(map)).toBe(Object.prototype);
  expect(Object.keys(map)).toEqual(['__proto__']);
});

test('what is not plain data is not packed', () => {
  expect(() => packed(1n)).toThrow('expected plain data, got bigint');
});
