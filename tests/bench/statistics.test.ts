import { expect, it } from 'vitest';
import { alternate, median, ratioOfPairs, spreadOf } from '../../bench/statistics.ts';

it('the median of an odd number of values is the middle one, of an even number the mean of the two in the middle', () => {
  expect(median([9, 1, 4])).toBe(4);
  expect(median([10, 1, 4, 8])).toBe(6);
  expect(median([7])).toBe(7);
});

it('a spread is median, smallest and largest', () => {
  expect(spreadOf([3, 1, 2, 8])).toEqual({ median: 2.5, smallest: 1, largest: 8 });
});

it('ratios are taken within pairs, not of the medians', () => {
  // Within the pairs 2, 2 and 0.5; of the medians it would be 20 / 20.
  expect(ratioOfPairs([20, 80, 10], [10, 40, 20])).toEqual({ median: 2, smallest: 0.5, largest: 2 });
});

it('two sides alternate, the second one first in every second pair', async () => {
  const order: string[] = [];
  const measure = (side: string) => async () => `${side}${order.push(side)}`;
  const reported: unknown[] = [];
  const measured = await alternate(3, measure('a'), measure('b'), (...pair) => reported.push(pair));
  expect(order.join('')).toBe('abbaab');
  expect(measured).toEqual({ a: ['a1', 'a4', 'a5'], b: ['b2', 'b3', 'b6'] });
  expect(reported).toEqual([
    [0, 'a1', 'b2'],
    [1, 'a4', 'b3'],
    [2, 'a5', 'b6'],
  ]);
});
