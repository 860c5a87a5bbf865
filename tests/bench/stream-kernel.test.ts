import { expect, it } from 'vitest';
import { fits, streamKernel, trafficOf } from '../../bench/stream-kernel.ts';

it('one pass adds the sum of the read streams to every updated stream, and leaves the read ones', () => {
  const length = 32;
  const { pass, memory } = streamKernel({ updated: 2, read: 3, length });
  // Each stream starts on a page.
  const stream = (index: number) => new Float32Array(memory.buffer, index * 65_536, length);
  for (let index = 0; index < 5; index++) {
    for (let i = 0; i < length; i++) stream(index)[i] = 100 * index + i;
  }
  pass();
  for (let i = 0; i < length; i++) {
    // 200 + i, 300 + i and 400 + i.
    const sum = 900 + 3 * i;
    expect([0, 1, 2, 3, 4].map((index) => stream(index)[i])).toEqual([
      i + sum,
      100 + i + sum,
      ...[200 + i, 300 + i, 400 + i],
    ]);
  }
});

it('traffic counts updated streams twice, four bytes a number', () => {
  expect(trafficOf({ updated: 2, read: 3, length: 16 })).toBe(4 * 16 * 7);
});

it('streams that need more than one WebAssembly memory do not fit', () => {
  // 4 streams of 1 GiB are one page more than a memory can have.
  expect(fits({ updated: 2, read: 2, length: 2 ** 28 })).toBe(false);
  expect(fits({ updated: 2, read: 2, length: 2 ** 28 - 16_384 })).toBe(true);
});
