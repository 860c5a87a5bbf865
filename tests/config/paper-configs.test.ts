// configs/ against the paper's experiment: 5 models x 2 data sets x 2 measures x 2 cases x thresholds.

import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { planRun } from '../../src/cli/dry-run.ts';
import { loadConfig } from '../../src/config/load.ts';

const FOLDER = fileURLToPath(new URL('../../configs/', import.meta.url));
const NOWHERE = join(tmpdir(), 'gradamp-no-such-folder');

/** 0.7 to 2.5 in steps of 0.1, 1.0 to 3.0 in steps of 0.25. */
const TENTHS = Array.from({ length: 19 }, (_, i) => (7 + i) / 10);
const QUARTERS = Array.from({ length: 9 }, (_, i) => 1 + i / 4);

const PARAMS1 = {
  analyses: [51, 101],
  amplified: [
    [52, 100],
    [102, 130],
  ],
  rates: [0.1, 0.1, 0.01, 0.01],
  ends: [50, 100, 130, 150],
};
const PARAMS2 = {
  analyses: [11, 101],
  amplified: [
    [12, 100],
    [102, 145],
  ],
  rates: [0.1, 0.1, 0.01, 0.01],
  ends: [10, 100, 145, 150],
};
const MODELS = [
  { model: 'vgg19', thresholds: TENTHS, ...PARAMS1 },
  { model: 'resnet18', thresholds: TENTHS, ...PARAMS1 },
  { model: 'resnet34', thresholds: TENTHS, ...PARAMS1 },
  { model: 'resnet50', thresholds: QUARTERS, ...PARAMS2 },
  { model: 'resnet101', thresholds: QUARTERS, ...PARAMS2 },
];
const EXPERIMENTS = MODELS.flatMap((experiment) =>
  (['cifar10', 'cifar100'] as const).map((dataset) => ({ ...experiment, dataset })),
);

test('every model of the paper has a config for each data set, and the quickstart its own', () => {
  const expected = EXPERIMENTS.map(({ model, dataset }) => `${model}-${dataset}.yaml`);
  expect(readdirSync(FOLDER).sort()).toEqual([...expected, 'quickstart.yaml'].sort());
});

describe.each(EXPERIMENTS)('$model on $dataset', ({ model, dataset, thresholds, ...strategy }) => {
  const file = `${FOLDER}${model}-${dataset}.yaml`;

  test('is planned with the training strategy of the paper', async () => {
    const config = loadConfig(file, { set: [`dataDir=${NOWHERE}`], devices: 'cpu' });
    const { phases, epochs, candidates, layers } = await planRun(config, `${NOWHERE}/run`);
    expect(phases.map((phase) => phase.epochs[1])).toEqual(strategy.ends);
    expect(phases.map(({ learningRate }) => learningRate[0])).toEqual(strategy.rates);
    expect(phases.flatMap(({ analyses }) => analyses)).toEqual(strategy.analyses);
    expect(phases.flatMap(({ acting }) => (acting ? [acting] : []))).toEqual(strategy.amplified);
    expect(phases.map(({ factor }) => factor)).toEqual([1, 2, 2, 1]);
    expect(epochs.length).toBe(150);
    expect(candidates).toBe(layers);
  });

  test('has a config for each cell: measure, case and threshold; the outermost ones are planned', async () => {
    const cells = ['G', 'Gprime'].flatMap((measure) =>
      [1, 2].flatMap((kind) => thresholds.map((threshold) => ({ measure, case: kind, threshold }))),
    );
    expect(cells.length).toBe(4 * thresholds.length);
    for (const cell of cells) {
      const set = Object.entries(cell).map(([key, value]) => `amplification.${key}=${value}`);
      const config = loadConfig(file, { set: [...set, `dataDir=${NOWHERE}`], devices: 'cpu' });
      expect(config.model).toEqual({ name: model, width: 1 });
      expect(config).toMatchObject({
        dataset,
        batchSize: 128,
        amplification: { ...cell, reselect: 'phase' },
      });
      // A threshold changes nothing that is planned; all 600 cells would take half a minute.
      if (cell.threshold !== thresholds[0] && cell.threshold !== thresholds.at(-1)) continue;
      const { phases } = await planRun(config, `${NOWHERE}/run`);
      expect(phases.flatMap(({ analyses }) => analyses)).toEqual(strategy.analyses);
    }
  });

  test.each(['amplification=none', 'amplification.selection=random', 'amplification.reselect=5'])(
    'has a config with %s',
    (override) => {
      expect(() => loadConfig(file, { set: [override] })).not.toThrow();
    },
  );
});
