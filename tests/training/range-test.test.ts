// The learning-rate range test's arithmetic: rates, smoothing, when it ends, what a curve speaks for.

import { describe, expect, test } from 'vitest';
import { exponentialMean, RangeTest, rateOfStep, suggest } from '../../src/training/range-test.ts';

const digits = (expected: number) => expect.closeTo(expected, 12);

test('the rate grows by the same factor each step, and is exact at both ends', () => {
  const rates = [1, 2, 3, 4, 5].map((step) => rateOfStep({ from: 0.001, to: 10, steps: 5 }, step));
  expect(rates).toEqual([0.001, digits(0.01), digits(0.1), digits(1), 10]);
});

test('the exponential mean weighs by age alone, from its first value on', () => {
  const mean = exponentialMean(2);
  // Weights 1; 1, 1/2; 1, 1/2, 1/4.
  expect([4, 1, 7].map(mean)).toEqual([4, digits((1 + 2) / 1.5), digits((7 + 0.5 + 1) / 1.75)]);
  const none = exponentialMean(1);
  expect([4, 1, 7].map(none)).toEqual([4, 1, 7]);
});

describe('a test of 20 steps, smoothed over 2', () => {
  const started = (losses: readonly number[]) => {
    const test = new RangeTest({ from: 1e-3, to: 1e-3 * 2 ** 19, steps: 20 });
    for (const loss of losses) test.record(loss);
    return test;
  };

  test('smooths rate and loss alike', () => {
    const { points, learningRate } = started([4, 1]);
    expect(points[1]).toEqual({
      step: 2,
      learningRate: digits(2e-3),
      loss: 1,
      smoothedRate: digits(1e-3 * 2 ** (1 / 1.5)),
      smoothedLoss: digits(2),
    });
    expect(learningRate).toBeCloseTo(4e-3, 12);
  });

  test('does not move a straight line: the smoothing has no lag', () => {
    const losses = Array.from({ length: 20 }, (_, step) => 5 - 0.2 * step);
    const test = started(losses);
    for (const { smoothedRate, smoothedLoss } of test.points) {
      expect(smoothedLoss).toBeCloseTo(5 - 0.2 * Math.log2(smoothedRate / 1e-3), 10);
    }
    expect({ complete: test.complete, diverged: test.diverged }).toEqual({ complete: true, diverged: false });
  });

  test('ends where the smoothed loss is above four times its best, and no earlier', () => {
    // (1/4 + 1/2 + x) / 1.75: 4 is at x = 6.25.
    expect(started([1, 1, 6.2]).diverged).toBe(false);
    const test = started([1, 1, 6.3]);
    expect({ diverged: test.diverged, complete: test.complete, points: test.points.length }).toEqual({
      diverged: true,
      complete: false,
      points: 3,
    });
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('ends at a loss of %s, which makes no point', (loss) => {
    const test = started([2, 2, loss]);
    expect(test.diverged).toBe(true);
    expect(test.points.map((point) => point.loss)).toEqual([2, 2]);
  });

  test('leaves the steps out of its suggestions before which the smoothing is not full', () => {
    // The lowest loss and the steepest descent are at the very start.
    const falling = [9, 1, 8, 8, 7.9, 7, 6, 5.9, 5.9, 5.9];
    const { suggestions, points } = started(falling);
    expect(suggestions?.minimum).toBe(points[9].smoothedRate);
    expect(suggestions?.steepest).toBeGreaterThan(points[3].smoothedRate);
    expect(started([9, 1]).suggestions).toBeNull();
  });
});

describe('what a curve speaks for', () => {
  const curve = (losses: readonly number[]) =>
    losses.map((smoothedLoss, index) => ({ smoothedRate: Number(`1e${index - 5}`), smoothedLoss }));

  test('the steepest descent, the minimum, and a tenth of that', () => {
    // Slopes over three points, two at the ends, per factor of ten: -0.1, -0.3, -0.55, -0.35, -0.1.
    expect(suggest(curve([2, 1.9, 1.4, 0.8, 0.7, 3]), 1)).toEqual({
      steepest: 1e-3,
      minimum: 0.1,
      tenthOfMinimum: digits(0.01),
    });
  });

  test('a wider reach does not fall for a single drop', () => {
    const losses = [3, 3, 3, 2.5, 3, 3, 2.9, 2.7, 2.5, 2.3, 2.25];
    // (2.5 - 3) / 2 = -0.25 before the drop, (2.5 - 2.9) / 2 = -0.2 at the lasting fall.
    expect(suggest(curve(losses), 1)?.steepest).toBe(1e-3);
    // Over four points -0.15 at most by the drop, over five -0.18 at the lasting fall.
    expect(suggest(curve(losses), 2)?.steepest).toBe(100);
  });

  test('a fall behind the minimum does not count', () => {
    expect(suggest(curve([2, 1.9, 1.8, 9, 2.5]), 1)).toMatchObject({ steepest: 1e-5, minimum: 1e-3 });
  });

  test('nothing where the loss only rises, or there is no curve', () => {
    expect(suggest(curve([1, 2, 3]), 1)).toBeNull();
    expect(suggest([], 1)).toBeNull();
  });
});
