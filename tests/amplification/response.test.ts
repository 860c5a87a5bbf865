import { describe, expect, it } from 'vitest';
import { continuousFactor } from '../../src/amplification/continuous.ts';
import { type SelectionRule, select, zScores } from '../../src/amplification/selection.ts';
import { DEFAULT_RULE } from '../parallel/fixtures.ts';

/** method.md, "Small checks anyone can redo by hand": z = -0.5306, -0.4043, -0.5937, -0.4674, 1.9960. */
const VALUES = [0.05, 0.052, 0.049, 0.051, 0.09];

/** Of layers whose G is as given, at a phase's factor of 2. */
function layers(rule: Partial<SelectionRule>, values = VALUES, factor = 2) {
  const measured = values.map((netSum, index) => ({
    name: `layer${index}`,
    kind: 'conv2d',
    sums: { netSum, totalSum: 1, ratioSum: netSum, size: 1, dead: 0 },
  }));
  const context = { epoch: 3, iterations: 100, seed: 5, index: 0, factor };
  return select({ ...DEFAULT_RULE, threshold: 1, ...rule }, measured, context).layers;
}
const factors = (...given: Parameters<typeof layers>) => layers(...given).map(({ factor }) => factor);

describe('the factor of a candidate', () => {
  it('is the phase’s where it is chosen and 1 where not', () => {
    expect(factors({})).toEqual([1, 1, 1, 1, 2]);
    expect(factors({}, VALUES, 1.5)).toEqual([1, 1, 1, 1, 1.5]);
  });

  it('is 0 where it is frozen, whatever the phase’s', () => {
    expect(factors({ response: 'freeze' })).toEqual([1, 1, 1, 1, 0]);
    expect(factors({ response: 'freeze', selection: 'inverted' }, VALUES, 1)).toEqual([1, 1, 0, 1, 1]);
  });

  it('follows z where it is continuous: 2 ** z for a threshold of 1, from 1/2 to 2', () => {
    const rounded = factors({ response: 'continuous', selection: 'all' }).map((f) => Number(f.toFixed(3)));
    expect(rounded).toEqual([0.692, 0.756, 0.663, 0.723, 2]);
    const halved = factors({ response: 'continuous', selection: 'all', threshold: 2 });
    expect(halved[2]).toBeCloseTo(2 ** (-0.5937 / 2), 4);
    expect(halved[4]).toBeCloseTo(2 ** (1.996 / 2), 4);
  });

  it('is 1 where there is no z to follow, and nothing counts as chosen', () => {
    const same = layers({ response: 'continuous', selection: 'all' }, [0.3, 0.3, 0.3]);
    expect(same.map(({ chosen, factor }) => [chosen, factor])).toEqual(Array(3).fill([false, 1]));
    expect(factors({ selection: 'all' }, [0.3, 0.3, 0.3])).toEqual([2, 2, 2]);
  });
});

describe('the continuous factor with bound 4 and threshold 1.5', () => {
  const factor = (z: number) => continuousFactor(z, 1.5, 4);

  it('is 1 at the average, 4 at the threshold and 1/4 as far below, 2 and 1/2 half-way', () => {
    expect([0, 1.5, -1.5, 0.75, -0.75].map(factor)).toEqual([1, 4, 0.25, 2, 0.5]);
  });

  it('stays there beyond', () => {
    expect([1.6, 30, -1.6, -30].map(factor)).toEqual([4, 4, 0.25, 0.25]);
  });

  it('leaves the geometric mean of the rates as it is where it stays nowhere', () => {
    const { z } = zScores([0.1, 0.15, 0.22, 0.3, 0.31]);
    expect(Math.max(...z.map(Math.abs))).toBeLessThan(1.5);
    expect(z.map(factor).reduce((product, value) => product * value)).toBeCloseTo(1, 12);
  });
});
