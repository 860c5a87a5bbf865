// Bytes of a file with something done to them.

import fc from 'fast-check';

const KINDS = [
  ...['flip', 'truncate', 'extend', 'cut', 'swap', 'double', 'zero', 'ones', 'noise', 'size', 'size'],
] as const;

export interface Damage {
  readonly kind: (typeof KINDS)[number] | string;
  readonly from: 'start' | 'end' | 'anywhere';
  /** 0..1 of the file, and bytes from its start or end. */
  readonly share: number;
  readonly offset: number;
  readonly length: number;
  readonly width: 1 | 2 | 4 | 8;
  readonly size: bigint;
  readonly seed: number;
}

/** A length as a header has it, at its most extreme. */
const SIZES = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

const damage: fc.Arbitrary<Damage> = fc.record({
  kind: fc.constantFrom(...KINDS),
  from: fc.constantFrom('start', 'end', 'anywhere'),
  share: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  offset: fc.oneof(fc.nat(16), fc.nat(400)),
  length: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 5000 })),
  width: fc.constantFrom(1, 2, 4, 8),
  size: fc.oneof(fc.constantFrom(...SIZES), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  seed: fc.nat(),
});

export const damages: fc.Arbitrary<readonly Damage[]> = fc.array(damage, { minLength: 1, maxLength: 3 });

/** A copy with all of it done, one after the other. */
export const damaged = (bytes: Uint8Array, all: readonly Damage[]): Uint8Array =>
  all.reduce(apply, Uint8Array.from(bytes));

function apply(bytes: Uint8Array, damage: Damage): Uint8Array {
  const { kind, length, seed } = damage;
  const start = placeOf(bytes, damage);
  const end = Math.min(bytes.length, start + length);
  const copy = Buffer.from(bytes);
  const pieces = (...all: (readonly [number, number])[]) =>
    Uint8Array.from(Buffer.concat(all.map(([from, to]) => copy.subarray(from, to))));
  switch (kind) {
    case 'flip':
      if (start < copy.length) copy[start] ^= 1 << (seed % 8);
      return Uint8Array.from(copy);
    case 'truncate':
      return pieces([0, start]);
    case 'extend':
      return Uint8Array.from(Buffer.concat([copy, noise(length, seed)]));
    case 'cut':
      return pieces([0, start], [end, copy.length]);
    case 'swap': {
      const behind = Math.min(copy.length, 2 * end - start);
      return pieces([0, start], [end, behind], [start, end], [behind, copy.length]);
    }
    case 'double':
      return pieces([0, end], [start, copy.length]);
    case 'zero':
      return Uint8Array.from(copy.fill(0, start, end));
    case 'ones':
      return Uint8Array.from(copy.fill(0xff, start, end));
    case 'noise':
      copy.set(noise(end - start, seed), start);
      return Uint8Array.from(copy);
    default:
      return withSize(copy, start, damage);
  }
}

function placeOf({ length }: Uint8Array, { from, share, offset }: Damage): number {
  if (from === 'anywhere') return Math.floor(share * length);
  return from === 'start' ? Math.min(offset, length) : Math.max(0, length - 1 - offset);
}

/** A number written over what is there, in either order of bytes. */
function withSize(copy: Buffer, start: number, { width, size, seed }: Damage): Uint8Array {
  const number = Buffer.alloc(8);
  number.writeBigUInt64LE(size);
  const written = number.subarray(0, width);
  if (seed % 2) written.reverse();
  copy.set(written.subarray(0, Math.max(0, copy.length - start)), start);
  return Uint8Array.from(copy);
}

function noise(length: number, seed: number): Uint8Array {
  let state = seed | 1;
  return Uint8Array.from({ length }, () => {
    state = Math.imul(state, 1664525) + 1013904223;
    return state >>> 24;
  });
}
