// Counter-based random numbers: every draw is a pure function of (seed, stream, position), so that it depends
// neither on the number of workers nor on what was drawn before. Not a stateful generator.

/** What a draw is for. Streams with the same seed are independent. The numbers are part of the run format. */
export const Stream = {
  weights: 1,
  order: 2,
  augmentation: 3,
  selection: 4,
  synthetic: 5,
  validation: 6,
} as const;
export type Stream = (typeof Stream)[keyof typeof Stream];

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** High 32 bits of the unsigned 64-bit product. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  // Every sum is below 2^32, so that shifts and masks take it whole.
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/**
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four random 32-bit words
 * for one 128-bit counter under one 64-bit key, written to `out`.
 */
export function philox4x32(
  key0: number,
  key1: number,
  counter0: number,
  counter1: number,
  counter2: number,
  counter3: number,
  out: Uint32Array,
): void {
  let c0 = counter0 >>> 0;
  let c1 = counter1 >>> 0;
  let c2 = counter2 >>> 0;
  let c3 = counter3 >>> 0;
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

const words = new Uint32Array(4);

/**
 * Four random 32-bit words for position (a, b, c) of a stream. The array is reused by the next call on this
 * thread: read it at once.
 */
export function draw(seed: number, stream: Stream, a: number, b = 0, c = 0): Uint32Array {
  philox4x32(seed, stream, a, b, c, 0, words);
  return words;
}

/** A 32-bit word as a number in [0, 1), a multiple of 2^-24, so that it is exact in float32. */
export function toUnit(word: number): number {
  return (word >>> 8) / 0x1000000;
}
