import { expect, it } from 'vitest';
import { isFlat, type LeakSample, slopeOf } from '../../bench/leak.ts';

const sample = (step: number, residentBytes: number, changes: Partial<LeakSample> = {}): LeakSample => ({
  ...{ step, residentBytes, tensors: 0, tensorBytes: 0, heapBytes: 65_536 },
  ...changes,
});

it('the slope of the resident set is that of the line with the least squares', () => {
  expect(slopeOf([0, 100, 200].map((step) => sample(step, 5000 + 3 * step)))).toBeCloseTo(3, 12);
  // By hand: steps -100, 0, 100 and bytes -1, 2, -1 about their means.
  expect(slopeOf([sample(0, 0), sample(100, 3), sample(200, 0)])).toBe(0);
  expect(slopeOf([sample(0, 0), sample(100, 3), sample(200, 6), sample(300, 3)])).toBeCloseTo(0.012, 12);
});

it.each([
  ['a resident set that wavers by 5 %', sample(100, 1050), true],
  ['one that grows by more', sample(100, 1051), false],
  ['one that shrinks', sample(100, 10), true],
  ['a tensor more', sample(100, 1000, { tensors: 1 }), false],
  ['a byte of a tensor more', sample(100, 1000, { tensorBytes: 1 }), false],
  ['a wasm heap that grew', sample(100, 1000, { heapBytes: 131_072 }), false],
])('%s', (_, later, flat) => {
  expect(isFlat([sample(0, 1000), later, sample(200, 1000)])).toBe(flat);
});
