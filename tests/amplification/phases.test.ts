import { describe, expect, it } from 'vitest';
import { planEpoch } from '../../src/amplification/phases.ts';
import type { Phase } from '../../src/config/schema.ts';

const phase = (endEpoch: number, learningRate: number, amplify: boolean, factor: number): Phase => ({
  endEpoch,
  learningRate,
  amplify,
  factor,
});
const params1 = [
  phase(50, 0.1, false, 1),
  phase(100, 0.1, true, 2),
  phase(130, 0.01, true, 2),
  phase(150, 0.01, false, 1),
];
const params2 = [
  phase(10, 0.1, false, 1),
  phase(100, 0.1, true, 2),
  phase(145, 0.01, true, 2),
  phase(150, 0.01, false, 1),
];

const plans = (schedule: Phase[], reselect: 'phase' | 'none' | number) =>
  Array.from({ length: 150 }, (_, index) => planEpoch(schedule, reselect, index + 1));
const analysed = (schedule: Phase[], reselect: 'phase' | 'none' | number) =>
  plans(schedule, reselect).flatMap(({ analysed, epoch }) => (analysed ? [epoch] : []));
const amplified = (schedule: Phase[], reselect: 'phase' | 'none' | number) =>
  plans(schedule, reselect).flatMap(({ acts, factor, epoch }) => (acts && factor === 2 ? [epoch] : []));
const epochs = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe('planEpoch', () => {
  it('analyses the first epoch of each amplifying phase and amplifies the rest of it', () => {
    expect(analysed(params1, 'phase')).toEqual([51, 101]);
    expect(amplified(params1, 'phase')).toEqual([...epochs(52, 100), ...epochs(102, 130)]);
    expect(analysed(params2, 'phase')).toEqual([11, 101]);
    expect(amplified(params2, 'phase')).toEqual([...epochs(12, 100), ...epochs(102, 145)]);
  });

  it('keeps no choice in plain phases and at the start of amplifying ones, whatever the factor', () => {
    const schedule = params1.map(({ endEpoch, amplify }) => phase(endEpoch, 0.1, amplify, 1));
    const kept = plans(schedule, 'phase').flatMap(({ acts, epoch }) => (acts ? [epoch] : []));
    expect(kept).toEqual([...epochs(52, 100), ...epochs(102, 130)]);
  });

  it('measures again every K epochs, amplified meanwhile, but not in the last of a phase', () => {
    // A choice made in 51 serves 52-56; 56 is measured with it on.
    expect(analysed(params1, 5)).toEqual([
      51, 56, 61, 66, 71, 76, 81, 86, 91, 96, 101, 106, 111, 116, 121, 126,
    ]);
    expect(amplified(params1, 5)).toEqual(amplified(params1, 'phase'));
    expect(analysed([phase(3, 0.1, true, 2), phase(150, 0.1, false, 1)], 2)).toEqual([1]);
    expect(analysed([phase(4, 0.1, true, 2), phase(150, 0.1, false, 1)], 2)).toEqual([1, 3]);
  });

  it('is plain throughout for the original model', () => {
    expect(analysed(params1, 'none')).toEqual([]);
    expect(amplified(params1, 'none')).toEqual([]);
  });

  it('follows the learning rates and counts phases from 1', () => {
    const at = (epoch: number) => planEpoch(params1, 'phase', epoch);
    expect([1, 50, 51, 100, 101, 150].map((epoch) => at(epoch).learningRate)).toEqual([
      0.1, 0.1, 0.1, 0.1, 0.01, 0.01,
    ]);
    expect([1, 50, 51, 131].map((epoch) => at(epoch).phase)).toEqual([1, 1, 2, 4]);
    expect(() => at(151)).toThrow('expected an epoch of 1 to 150, got 151');
    expect(() => at(0)).toThrow('got 0');
  });
});
