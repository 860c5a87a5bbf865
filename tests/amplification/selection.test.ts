import { describe, expect, it } from 'vitest';
import { type SelectionRule, select, zScores } from '../../src/amplification/selection.ts';
import { DEFAULT_RULE } from '../parallel/fixtures.ts';

/** method.md, "Small checks anyone can redo by hand". */
const VALUES = [0.05, 0.052, 0.049, 0.051, 0.09];

/** Layers of one weight each whose G and G' are the given values. */
const layersOf = (values: number[]) =>
  values.map((value, index) => ({
    name: `layer${index}`,
    kind: 'conv2d',
    sums: { netSum: value, totalSum: 1, ratioSum: value, size: 1, dead: 0 },
  }));

const CONTEXT = { epoch: 3, iterations: 100, seed: 5, index: 0, factor: 2 };

const chosenBy = (rule: Partial<SelectionRule>, values = VALUES, context = {}) =>
  select({ ...DEFAULT_RULE, threshold: 1, ...rule }, layersOf(values), { ...CONTEXT, ...context })
    .layers.filter(({ chosen }) => chosen)
    .map(({ name }) => name);

describe('zScores', () => {
  it('standardises with the population deviation', () => {
    const rounded = zScores(VALUES).z.map((z) => Number(z.toFixed(4)));
    expect(rounded).toEqual([-0.5306, -0.4043, -0.5937, -0.4674, 1.996]);
  });

  it.each([
    ['fewer than two candidate layers (1)', [0.3]],
    ['a layer has a non-finite value', [0.3, Number.NaN, 0.4]],
    ['all layers have the same value', [0.3, 0.3 + 1e-9, 0.3]],
    ['all layers have the same value', [0, 0, 0]],
  ])('chooses nothing where %s', (reason, values) => {
    expect(zScores(values)).toEqual({ z: values.map(() => 0), degenerate: reason });
    expect(chosenBy({ threshold: -1, case: 2 }, values)).toEqual([]);
  });
});

describe('select', () => {
  it('takes z > threshold in case 1', () => {
    expect(chosenBy({ case: 1, threshold: 1 })).toEqual(['layer4']);
    expect(chosenBy({ case: 1, threshold: 2 })).toEqual([]);
  });

  it('takes |z| > threshold in case 2', () => {
    expect(chosenBy({ case: 2, threshold: 0.5 })).toEqual(['layer0', 'layer2', 'layer4']);
    expect(chosenBy({ case: 1, threshold: 0.5 })).toEqual(['layer4']);
  });

  it('compares strictly', () => {
    const [z] = zScores([1, 2]).z;
    expect(z).toBe(-1);
    expect(chosenBy({ case: 2, threshold: 1 }, [1, 2])).toEqual([]);
    expect(chosenBy({ case: 2, threshold: 0.999 }, [1, 2])).toEqual(['layer0', 'layer1']);
  });

  it('ranks by the measure of the rule and reports both', () => {
    const layers = layersOf([0.1, 0.1, 0.1, 0.5]).map((layer, index) => ({
      ...layer,
      sums: { ...layer.sums, ratioSum: index === 0 ? 0.9 : 0.1 },
    }));
    const by = (measure: 'G' | 'Gprime') =>
      select({ ...DEFAULT_RULE, measure, threshold: 1 }, layers, { ...CONTEXT, iterations: 4 });
    expect(by('G').layers.map(({ chosen }) => chosen)).toEqual([false, false, false, true]);
    expect(by('Gprime').layers.map(({ chosen }) => chosen)).toEqual([true, false, false, false]);
    expect(by('G').layers[0]).toMatchObject({ G: 0.1, Gprime: 0.9, size: 1 });
    expect(by('G').noiseFloor).toBe(0.5);
  });
});

describe('the controls', () => {
  const values = [0.1, 0.5, 0.2, 0.4, 0.3, 0.9, 0.15, 0.25];

  it('inverted takes as many layers as the case would, those of lowest z', () => {
    expect(chosenBy({ threshold: 0.3 }, values)).toEqual(['layer1', 'layer5']);
    expect(chosenBy({ threshold: 0.3, selection: 'inverted' }, values)).toEqual(['layer0', 'layer6']);
    expect(chosenBy({ threshold: 9, selection: 'inverted' }, values)).toEqual([]);
  });

  it('all takes every candidate, whatever z is', () => {
    expect(chosenBy({ threshold: 9, selection: 'all' }, values)).toHaveLength(8);
    expect(chosenBy({ selection: 'all' }, [0.3, 0.3])).toEqual(['layer0', 'layer1']);
  });

  it('random takes a share of the candidates, or as many as the case would', () => {
    for (const index of [0, 1, 2, 3]) {
      expect(chosenBy({ selection: 'random', ratio: 0.5 }, values, { index })).toHaveLength(4);
      expect(chosenBy({ selection: 'random', threshold: 0.3 }, values, { index })).toHaveLength(2);
    }
  });

  it('random draws anew at each selection and for each seed, and the same again for the same', () => {
    const drawn = (context: object) => chosenBy({ selection: 'random', ratio: 0.5 }, values, context).join();
    expect(drawn({ seed: 1, index: 2 })).toBe(drawn({ seed: 1, index: 2 }));
    const different = new Set([0, 1, 2, 3, 4, 5].map((index) => drawn({ seed: 1, index })));
    expect(different.size).toBeGreaterThan(3);
    expect(new Set([0, 1, 2, 3, 4, 5].map((seed) => drawn({ seed }))).size).toBeGreaterThan(3);
  });

  it('random takes every layer equally often', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 800; index++) {
      for (const name of chosenBy({ selection: 'random', ratio: 0.25 }, values, { index })) {
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
    // 200 expected each, with a deviation of 12.
    for (const count of counts.values()) expect(Math.abs(count - 200)).toBeLessThan(50);
    expect(counts.size).toBe(8);
  });
});

describe('what z is made of', () => {
  it('divides by the deviation of a sample where asked to', () => {
    // 1, 2, 3: population deviation sqrt(2/3), sample deviation 1.
    expect(zScores([1, 2, 3], 'sample').z).toEqual([-1, 0, 1]);
    expect(zScores([1, 2, 3], 'population').z[2]).toBeCloseTo(Math.sqrt(1.5), 12);
    expect(chosenBy({ threshold: 1.1 }, [1, 2, 3])).toEqual(['layer2']);
    expect(chosenBy({ threshold: 1.1, deviation: 'sample' }, [1, 2, 3])).toEqual([]);
  });

  it('ranks by the distance from the noise floor in standard errors where asked to', () => {
    // 100 iterations: floor 0.1, standard error 0.0755 / sqrt(n). The large layer lies 40 errors above the floor with
    // a smaller G than the small ones, which lie 4 and 5 above it.
    const sizes = [10_000, 1, 1, 1];
    const G = [0.13, 0.402, 0.48, 0.1];
    const layers = layersOf(G).map((layer, i) => ({ ...layer, sums: { ...layer.sums, size: sizes[i] } }));
    const chosen = (score: SelectionRule['score']) =>
      select({ ...DEFAULT_RULE, threshold: 1, score }, layers, CONTEXT).layers.map((layer) => layer.chosen);
    expect(chosen('significance')).toEqual([true, false, false, false]);
    expect(chosen('value')).toEqual([false, false, true, false]);
    const { layers: scored } = select({ ...DEFAULT_RULE, score: 'significance' }, layers, CONTEXT);
    const scores = G.map((g, i) => (g - 0.1) / (0.0755 / Math.sqrt(sizes[i])));
    expect(scored.map(({ z }) => z)).toEqual(zScores(scores).z);
  });

  it('leaves dead weights out of n where asked to', () => {
    const layers = layersOf([0.1, 0.2, 0.3]).map((layer, i) => ({
      ...layer,
      sums: { ...layer.sums, size: 4, ratioSum: 0.8, dead: i },
    }));
    const ratios = (countDeadWeights: boolean) =>
      select({ ...DEFAULT_RULE, countDeadWeights }, layers, CONTEXT).layers.map(({ Gprime }) => Gprime);
    expect(ratios(true)).toEqual([0.2, 0.2, 0.2]);
    expect(ratios(false)).toEqual([0.2, 0.8 / 3, 0.4]);
  });

  it('takes the standard error from the weights that count', () => {
    // 100 iterations: floor 0.1, standard error 0.0755 / sqrt(n). 16, 4, 1 and 0 of 16 weights are alive; the ratios of
    // the live ones are 0.2 each, so that without the dead ones all G' are 0.2, but that of the last, which is 0.
    const layers = [16, 4, 1, 0].map((live, i) => ({
      ...layersOf([0.2])[0],
      name: `layer${i}`,
      sums: { netSum: 0.2 * live, totalSum: live, ratioSum: 0.2 * live, size: 16, dead: 16 - live },
    }));
    const measured = (countDeadWeights: boolean) => {
      const rule = { ...DEFAULT_RULE, measure: 'Gprime', score: 'significance', countDeadWeights } as const;
      return select(rule, layers, CONTEXT).layers;
    };
    const errors = (countDeadWeights: boolean) =>
      measured(countDeadWeights).map(({ standardError }) => Number(standardError.toFixed(6)));
    expect(errors(true)).toEqual([0.018875, 0.018875, 0.018875, 0.018875]);
    expect(errors(false)).toEqual([0.018875, 0.03775, 0.0755, 0.0755]);
    // (0.2 - 0.1) / SE is 400/75.5 times 1, 1/2, 1/4, and -1/4 where G' is 0.
    const { z } = zScores([4, 2, 1, -1]);
    for (const [i, layer] of measured(false).entries()) expect(layer.z).toBeCloseTo(z[i], 12);
  });
});
