import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { createAssembler } from '../../../src/data/augmentation.ts';
import { IMAGE_BYTES, type Split } from '../../../src/data/dataset.ts';
import { addon, it } from './fixtures.ts';

const SIZE = 7;
const normalisation = { mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.2435, 0.2616] };

const split: Split = {
  name: 'train',
  size: SIZE,
  images: new Uint8Array(new SharedArrayBuffer(SIZE * IMAGE_BYTES)).map((_, i) => (i * 2654435761) >>> 7),
  labels: Uint8Array.from({ length: SIZE }, (_, i) => i),
};

const bits = (numbers: Float32Array) => Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);

/** Whether both assemblies of a batch are the same bits, and what lies behind it is left. */
function expectEqual(indices: Uint32Array, augmentation?: Record<'top' | 'left' | 'flip', Uint8Array>): void {
  const images = () => new Float32Array((indices.length + 1) * IMAGE_BYTES).fill(42);
  const [expected, result] = [images(), images()];
  createAssembler(normalisation)({ split, indices, augmentation }, expected, new Int32Array(indices.length));
  addon.assemble(
    { images: split.images, labels: split.labels, indices, ...augmentation },
    normalisation,
    result,
  );
  expect(bits(result).equals(bits(expected))).toBe(true);
}

describe('the native assembly', () => {
  it('has the bits of TypeScript for every crop and flip', () => {
    const windows = Array.from({ length: 162 }, (_, i) => [i % 9, Math.floor(i / 9) % 9, Math.floor(i / 81)]);
    const column = (at: number) => Uint8Array.from(windows, (window) => window[at]);
    const indices = Uint32Array.from(windows, (_, i) => i % SIZE);
    expectEqual(indices, { top: column(0), left: column(1), flip: column(2) });
  });

  it('has the bits of TypeScript without augmentation, for any samples in any order, and for none', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(SIZE - 1), { maxLength: 20 }), (indices) => {
        expectEqual(Uint32Array.from(indices));
      }),
      { numRuns: 20 },
    );
  });

  it('puts red, green and blue of a pixel side by side, and black where the crop leaves the image', () => {
    const images = new Uint8Array(IMAGE_BYTES);
    images.set([255], 0); // red, upper left
    images.set([51], 1024 + 31); // green, upper right
    const batch = { images, labels: new Uint8Array(1), indices: Uint32Array.of(0) };
    const result = new Float64Array(IMAGE_BYTES);
    const plain = { mean: [0, 0, 0.5], std: [1, 0.5, 0.25] };
    const at = (y: number, x: number) => [...result.subarray((y * 32 + x) * 3, (y * 32 + x) * 3 + 3)];
    addon.assemble(batch, plain, result);
    expect([at(0, 0), at(0, 31), at(5, 5)]).toEqual([
      [1, 0, -2],
      [0, Math.fround(0.4), -2],
      [0, 0, -2],
    ]);
    // The window starts 3 rows above and 2 columns left of the image, and is mirrored.
    const augmentation = { top: Uint8Array.of(1), left: Uint8Array.of(2), flip: Uint8Array.of(1) };
    addon.assemble({ ...batch, ...augmentation }, plain, result);
    expect(at(3, 31 - 2)).toEqual([1, 0, -2]);
    expect(result.filter((x) => x !== 0 && x !== -2)).toEqual(Float64Array.of(1));
  });

  it('writes the same numbers as float64', () => {
    const indices = Uint32Array.from({ length: SIZE }, (_, i) => i);
    const batch = { images: split.images, labels: split.labels, indices };
    const [single, double] = [new Float32Array(SIZE * IMAGE_BYTES), new Float64Array(SIZE * IMAGE_BYTES)];
    addon.assemble(batch, normalisation, single);
    addon.assemble(batch, normalisation, double);
    expect(bits(Float32Array.from(double)).equals(bits(single))).toBe(true);
    expect(double.every((x) => x === Math.fround(x) && x !== 0)).toBe(true);
  });
});

describe('a batch that is not one', () => {
  const valid = () => ({ images: split.images, labels: split.labels, indices: Uint32Array.of(0, 6) });
  const offsets = (...values: number[]) => Uint8Array.from(values);
  const augmentation = { top: offsets(0, 8), left: offsets(0, 8), flip: offsets(0, 1) };

  it.each([
    [{}, 'accepted'],
    [augmentation, 'accepted'],
    [{ images: [1] }, 'TypeError: batch.images: expected a Uint8Array, got an Array'],
    [
      { images: new Uint8Array(3071) },
      'RangeError: batch.images: expected whole images of 3072 bytes, got 3071 bytes',
    ],
    [
      { images: new Uint8Array(0) },
      'RangeError: batch.images: expected whole images of 3072 bytes, got 0 bytes',
    ],
    [{ labels: new Uint8Array(6) }, 'RangeError: batch.labels: expected 7 numbers, got 6'],
    [{ indices: [0] }, 'TypeError: batch.indices: expected a Uint32Array, got an Array'],
    [{ indices: Int32Array.of(0) }, 'TypeError: batch.indices: expected a Uint32Array, got an Int32Array'],
    [{ indices: Uint32Array.of(0, 7) }, 'RangeError: batch.indices[1]: expected 0 to 6, got 7'],
    [
      { indices: Uint32Array.of(2 ** 32 - 1) },
      'RangeError: batch.indices[0]: expected 0 to 6, got 4294967295',
    ],
    [{ top: offsets(0, 0) }, 'TypeError: batch.left: expected a Uint8Array, got undefined'],
    [{ ...augmentation, top: offsets(0, 9) }, 'RangeError: batch.top[1]: expected 0 to 8, got 9'],
    [{ ...augmentation, left: offsets(255, 0) }, 'RangeError: batch.left[0]: expected 0 to 8, got 255'],
    [{ ...augmentation, flip: offsets(2, 0) }, 'RangeError: batch.flip[0]: expected 0 to 1, got 2'],
    [{ ...augmentation, flip: offsets(0) }, 'RangeError: batch.flip: expected 2 numbers, got 1'],
  ])('%o: %s', (change, message) => {
    const images = new Float32Array(2 * IMAGE_BYTES);
    const assemble = () => {
      try {
        addon.assemble({ ...valid(), ...change } as never, normalisation, images);
      } catch (error) {
        return `${error}`;
      }
      return 'accepted';
    };
    expect(assemble()).toBe(message);
    expect(images.every((x) => x === 0)).toBe(message !== 'accepted');
  });

  it.each([
    [normalisation, new Float32Array(6143), 'images: expected at least 6144 numbers, got 6143'],
    [normalisation, new Uint8Array(6144), 'images: expected a Float32Array, got a Uint8Array'],
    [
      { ...normalisation, mean: [0, 0] },
      new Float32Array(6144),
      'normalisation.mean: expected 3 numbers, got 2',
    ],
    [
      { ...normalisation, std: [1, 1, null] },
      new Float32Array(6144),
      'normalisation.std[2]: expected a number, got null',
    ],
    [undefined, new Float32Array(6144), 'normalisation: expected an object, got undefined'],
  ])('%o with %s: %s', (normalisation, images, message) => {
    expect(() => addon.assemble(valid(), normalisation as never, images as never)).toThrow(message);
  });
});
