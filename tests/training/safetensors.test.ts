// The format alone: what is written, and what is refused and how.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { decodeSafetensors, encodeSafetensors, type Safetensors } from '../../src/training/safetensors.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/training/safetensors: seed ${SEED} (GRADAMP_TEST_SEED)`);

/** A file with this header, whatever it is, and so many bytes of data. */
function fileOf(header: string | Uint8Array, data: number | Uint8Array = 0, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  const bytes = typeof data === 'number' ? Buffer.alloc(data) : data;
  return Buffer.concat([prefix, text, bytes]);
}

/** A file of one tensor `a`, its description changed, and 16 bytes of data. */
const fileWith = (change: Record<string, unknown>) =>
  fileOf(JSON.stringify({ a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16], ...change } }), 16);

const floats = (...values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);

const example: Safetensors = {
  metadata: new Map([['format', 'pt']]),
  tensors: new Map([
    ['b', { dtype: 'F32', shape: [1, 2], data: floats(1, -2) }],
    ['a', { dtype: 'I64', shape: [], data: new Uint8Array(BigInt64Array.of(7n).buffer) }],
    ['empty', { dtype: 'F16', shape: [3, 0], data: new Uint8Array() }],
    ['flags', { dtype: 'BOOL', shape: [3], data: Uint8Array.of(1, 0, 1) }],
  ]),
};

describe('a file', () => {
  test('is the length of its header, the header padded to 8 bytes, and the tensors in the order given', () => {
    const { metadata, tensors } = example;
    const file = encodeSafetensors({ metadata, tensors: new Map([...tensors].slice(0, 2)) });
    const header =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"I64","shape":[],"data_offsets":[8,16]}}';
    expect(header.length % 8).not.toBe(0);
    const length = Math.ceil(header.length / 8) * 8;
    expect(Buffer.from(file).readBigUInt64LE()).toBe(BigInt(length));
    expect(Buffer.from(file.subarray(8, 8 + length)).toString()).toBe(header.padEnd(length));
    expect([...file.subarray(8 + length)]).toEqual([...floats(1, -2), 7, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('read and written again is the same, at any offset of its memory', () => {
    const file = encodeSafetensors(example);
    const shifted = new Uint8Array(file.length + 3);
    shifted.set(file, 3);
    const read = decodeSafetensors(shifted.subarray(3));
    expect([...read.metadata]).toEqual([['format', 'pt']]);
    expect([...read.tensors.keys()].sort()).toEqual(['a', 'b', 'empty', 'flags']);
    expect(read.tensors.get('b')).toEqual(example.tensors.get('b'));
    expect(encodeSafetensors(read)).toEqual(encodeSafetensors(decodeSafetensors(encodeSafetensors(read))));
    expect(read.tensors.get('flags')!.data.buffer).toBe(shifted.buffer);
  });

  test('without tensors or metadata is an empty header', () => {
    const nothing = { metadata: new Map(), tensors: new Map() };
    expect([...encodeSafetensors(nothing)]).toEqual([...fileOf('{}      ')]);
    expect(decodeSafetensors(fileOf('{}'))).toEqual(nothing);
  });

  test('may describe its tensors in another order than that of their data, and be padded with blanks', () => {
    const header = {
      second: { dtype: 'U8', shape: [1], data_offsets: [2, 3] },
      first: { data_offsets: [0, 2], shape: [2], dtype: 'U8' },
    };
    const { tensors } = decodeSafetensors(fileOf(`${JSON.stringify(header)}   `, Uint8Array.of(4, 5, 6)));
    expect([...tensors].map(([name, { data }]) => [name, ...data])).toEqual([
      ['first', 4, 5],
      ['second', 6],
    ]);
  });

  test('may have names that objects of JavaScript have', () => {
    const header = {
      constructor: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      __metadata__: { toString: 'a' },
    };
    const { metadata, tensors } = decodeSafetensors(fileOf(JSON.stringify(header), 1));
    expect([...tensors.keys(), ...metadata.keys()]).toEqual(['constructor', 'toString']);
  });

  test('is not written of data that do not fit a shape', () => {
    const tensors = new Map([['a', { dtype: 'F32', shape: [3], data: floats(1, 2) }]] as const);
    expect(() => encodeSafetensors({ metadata: new Map(), tensors })).toThrow(
      new RangeError('a: expected 12 bytes for F32 [3], got 8'),
    );
  });
});

describe('refused, in one line, is', () => {
  const DTYPES = 'BOOL, U8, I8, F8_E4M3, F8_E5M2, U16, I16, F16, BF16, U32, I32, F32, U64, I64, F64';
  const one = (name: string, begin: number, end: number) =>
    `${JSON.stringify(name)}:{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]}`;
  const notAnObject = (found: string) => `expected a header that is a JSON object, got ${found}`;
  const shape = (found: string) => `"a": expected a shape of whole numbers of at least 0, got ${found}`;
  const offsets = (found: string) => `"a": expected data_offsets [begin, end], got ${found}`;

  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(), "expected 8 bytes of a header's length, got a file of 0 bytes"],
    [
      'a file shorter than its first number',
      new Uint8Array(7),
      "expected 8 bytes of a header's length, got a file of 7 bytes",
    ],
    [
      'a header that ends behind the file',
      fileOf('{}', 0, 3n),
      'expected a header of at most the 2 bytes behind its length, got one of 3; is it a safetensors file?',
    ],
    [
      'the largest length that 8 bytes hold',
      fileOf('{}', 0, 2n ** 64n - 1n),
      'expected a header of at most the 2 bytes behind its length, got one of 18446744073709551615; is it a safetensors file?',
    ],
    ['no header', fileOf(''), notAnObject('""')],
    ['a list', fileOf('[]'), notAnObject('"[]"')],
    ['a header that does not begin with its brace', fileOf(' {}'), notAnObject('" {}"')],
    ['a byte order mark', fileOf('\ufeff{}'), notAnObject('"\ufeff{}"')],
    ['a header cut short', fileOf('{"a":'), notAnObject(String.raw`"{\"a\":"`)],
    ['a second value', fileOf('{} {}'), notAnObject('"{} {}"')],
    ['no UTF-8', fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), notAnObject('bytes that are no UTF-8')],
    ['lines', fileOf('{\n\u2028'), notAnObject(String.raw`"{\n\u2028"`)],
    [
      'a name that is there twice',
      fileOf(`{${one('a', 0, 2)},${one('a', 0, 2)}}`, 2),
      'expected every key of the header once, got "a" twice',
    ],
    [
      'a name that is there twice, once in other letters',
      fileOf(`{${one('"', 0, 2)}, "\\u0022" : ${one('', 0, 2).slice(3)}}`, 2),
      String.raw`expected every key of the header once, got "\"" twice`,
    ],
    [
      'a key of a tensor that is there twice',
      fileOf('{"a":{"dtype":"F64","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'expected every key of the header once, got "dtype" twice',
    ],
    [
      'a key of the metadata that is there twice',
      fileOf('{"__metadata__":{"a":"{","b":"}","a":"x"}}'),
      'expected every key of the header once, got "a" twice',
    ],
    [
      'a name that changes the prototype of objects',
      fileOf(`{${one('__proto__', 0, 1)}}`, 1),
      'expected a header without the key __proto__, got one with it',
    ],
    [
      'such a key of the metadata, in other letters',
      fileOf('{"__metadata__":{"\\u005f_proto__":"a"}}'),
      'expected a header without the key __proto__, got one with it',
    ],
    [
      'a list of metadata',
      fileOf('{"__metadata__":["a"]}'),
      '__metadata__: expected an object of strings, got ["a"]',
    ],
    [
      'a number among the metadata',
      fileOf('{"__metadata__":{"width":1}}'),
      '__metadata__: expected a string for "width", got 1',
    ],
    [
      'a tensor that is no object',
      fileOf('{"a":[1]}'),
      '"a": expected an object of dtype, shape, data_offsets, got [1]',
    ],
    [
      'a tensor with another key',
      fileOf('{"a":{"strides":[1]}}'),
      '"a": expected an object of dtype, shape, data_offsets, got {"strides":[1]}',
    ],
    ['no dtype', fileWith({ dtype: undefined }), `"a": expected a dtype of ${DTYPES}, got nothing`],
    ['an unknown dtype', fileWith({ dtype: 'F31' }), `"a": expected a dtype of ${DTYPES}, got "F31"`],
    [
      'a dtype that all objects have',
      fileWith({ dtype: 'toString' }),
      `"a": expected a dtype of ${DTYPES}, got "toString"`,
    ],
    ['no shape', fileWith({ shape: undefined }), shape('nothing')],
    ['a negative extent', fileWith({ shape: [-2, -2] }), shape('[-2,-2]')],
    ['half an extent', fileWith({ shape: [0.5, 8] }), shape('[0.5,8]')],
    ['an extent of text', fileWith({ shape: ['2', 2] }), shape('["2",2]')],
    ['an extent beyond whole numbers', fileWith({ shape: [2 ** 53] }), shape('[9007199254740992]')],
    ['no offsets', fileWith({ data_offsets: undefined }), offsets('nothing')],
    ['one offset', fileWith({ data_offsets: [0] }), offsets('[0]')],
    ['offsets the wrong way round', fileWith({ data_offsets: [16, 0] }), offsets('[16,0]')],
    ['a negative offset', fileWith({ data_offsets: [-16, 0] }), offsets('[-16,0]')],
    [
      'a shape of fewer bytes than its offsets',
      fileWith({ shape: [3] }),
      '"a": expected 12 bytes for F32 [3], got data_offsets [0,16] of 16',
    ],
    [
      'a shape whose size is beyond whole numbers',
      fileWith({ shape: [2 ** 32, 2 ** 32, 2 ** 32] }),
      '"a": expected 3.1691265005705735e+29 bytes for F32 [4294967296,4294967296,4294967296], got data_offsets [0,16] of 16',
    ],
    [
      'an overlap',
      fileOf(`{${one('a', 0, 3)},${one('b', 2, 4)}}`, 4),
      '"b": expected its data to begin at 3, got 2: an overlap',
    ],
    [
      'an empty tensor inside another',
      fileOf(`{${one('a', 0, 3)},${one('b', 1, 1)}}`, 3),
      '"b": expected its data to begin at 3, got 1: an overlap',
    ],
    [
      'a hole',
      fileOf(`{${one('a', 0, 1)},${one('b', 2, 4)}}`, 4),
      '"b": expected its data to begin at 1, got 2: a hole',
    ],
    [
      'a hole in front',
      fileOf(`{${one('a', 1, 2)}}`, 2),
      '"a": expected its data to begin at 0, got 1: a hole',
    ],
    [
      'data cut short',
      fileOf(`{${one('a', 0, 3)}}`, 2),
      'expected 3 bytes of data behind the header, got 2; was it written to its end?',
    ],
    [
      'data that claim more than there is memory',
      fileOf(`{${one('a', 0, 2 ** 50)}}`, 2),
      'expected 1125899906842624 bytes of data behind the header, got 2; was it written to its end?',
    ],
    [
      'data behind the last tensor',
      fileOf(`{${one('a', 0, 3)}}`, 4),
      'expected 3 bytes of data behind the header, got 4; was it written to its end?',
    ],
  ])('%s', (_, file, message) => {
    expect(() => decodeSafetensors(file)).toThrow(new UsageError(message));
    expect(message).not.toMatch(/[\n\u2028]/);
  });

  test('a header above 100 MB, in a file that has it', () => {
    const file = new Uint8Array(100_000_010);
    new DataView(file.buffer).setBigUint64(0, 100_000_001n, true);
    expect(() => decodeSafetensors(file)).toThrow(
      new UsageError(
        'expected a header of at most 100000000 bytes, got one of 100000001; is it a safetensors file?',
      ),
    );
  });

  test('a header of brackets a million deep', () => {
    const deep = `{"a":${'{"a":'.repeat(1e6)}1${'}'.repeat(1e6)}}`;
    expect(() => decodeSafetensors(fileOf(deep))).toThrow(UsageError);
  });
});

test('of a file that was changed anywhere there is a result, or one line', () => {
  const valid = encodeSafetensors(example);
  const header = 8 + Number(Buffer.from(valid).readBigUInt64LE());
  const byte = fc.nat({ max: 255 });
  const place = fc.oneof(fc.nat({ max: header - 1 }), fc.nat({ max: valid.length - 1 }));
  const token = fc.constantFrom(
    ...['{', '}', '[', ']', '"', ':', ',', '-', '1e9', '"a":', '\\u0061', 'null'],
  );
  /** From here on so many bytes are these in their place. */
  const change = fc.record({
    place,
    removed: fc.nat({ max: 8 }),
    added: fc.oneof(
      token.map((text) => [...Buffer.from(text)]),
      fc.array(byte, { maxLength: 8 }),
    ),
    /** Whether the length of the header follows the change. */
    lengthKept: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      let file = Buffer.from(valid);
      for (const { place, removed, added, lengthKept } of changes) {
        const at = Math.min(place, file.length);
        const rest = file.subarray(at + removed);
        const changed = Buffer.concat([file.subarray(0, at), Buffer.from(added), rest]);
        if (!lengthKept && at >= 8 && changed.length >= 8) {
          const length = Buffer.from(changed).readBigUInt64LE() + BigInt(added.length - removed);
          changed.writeBigUInt64LE(BigInt.asUintN(64, length));
        }
        file = changed;
      }
      try {
        for (const { data } of decodeSafetensors(file).tensors.values()) {
          expect(data.byteOffset + data.length).toBeLessThanOrEqual(file.byteOffset + file.length);
        }
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        expect(error.message).toMatch(/^expected|: expected /);
        expect(error.message).not.toMatch(/[\n\r\u2028\u2029]/);
      }
    }),
    { seed: SEED, numRuns: 200 },
  );
});
