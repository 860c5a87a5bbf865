// What follows from where a run stands.

import { expect, test } from 'vitest';
import { meanStatistics } from '../../src/training/run-state.ts';

test('the statistics of a run are the mean over its ranks', () => {
  const statistics = [Float32Array.of(1, 2), Float32Array.of(2, 6), Float32Array.of(6, 1)];
  expect(meanStatistics({ statistics })).toEqual(Float32Array.of(3, 3));
  expect(meanStatistics({ statistics: statistics.slice(0, 1) })).toBe(statistics[0]);
});
