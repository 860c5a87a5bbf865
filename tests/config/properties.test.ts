// What holds for every config: it survives the way to YAML and back, and junk never does more than complain.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { checkConfig, configDocument, loadConfig } from '../../src/config/load.ts';
import { UsageError } from '../../src/errors.ts';
import { configs } from './arbitrary-configs.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
console.log(`tests/config/properties: seed ${SEED} (GRADAMP_TEST_SEED)`);
fc.configureGlobal({ seed: SEED, numRuns: 500 });

const folder = mkdtempSync(join(tmpdir(), 'gradamp-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'run.yaml');

test('a config written as YAML and loaded again is the same config', () => {
  fc.assert(
    fc.property(configs, (config) => {
      writeFileSync(file, configDocument(config));
      expect(loadConfig(file)).toEqual(config);
    }),
  );
});

test('the YAML of a config has one phase a line', () => {
  const config = checkConfig(
    {
      model: 'resnet18',
      dataset: 'cifar10',
      schedule: [
        [50, 0.1, false, 1],
        [100, 0.01, true, 2],
      ],
      name: 'a',
    },
    'test',
    { devices: 'cpu,cpu' },
  );
  expect(configDocument(config)).toBe(
    [
      'name: a',
      'model:',
      '  name: resnet18',
      '  width: 1',
      'dataset: cifar10',
      'dataDir: data/cifar10',
      'validation: 0',
      'engine: auto',
      'backend: wasm',
      'devices: [cpu, cpu]',
      'precision: float32',
      'cudaGraph: auto',
      'collective: auto',
      'deterministic: false',
      'batchSize: 128',
      'syncBatchNorm: false',
      'accumulate: 1',
      'momentum: 0.9',
      'nesterov: false',
      'resetMomentum: false',
      'weightDecay: 0.0005',
      'labelSmoothing: 0',
      'schedule:',
      '  - [50, 0.1, false, 1]',
      '  - [100, 0.01, true, 2]',
      'learningRate: phases',
      'amplification:',
      '  measure: G',
      '  case: 1',
      '  threshold: 1.5',
      '  reselect: phase',
      '  selection: threshold',
      '  score: value',
      '  deviation: population',
      '  candidates: [conv2d, batchNorm, linear]',
      '  pooling: layer',
      '  normalisedBiases: false',
      '  countDeadWeights: true',
      '  measureWeightDecay: false',
      '  apply: gradient',
      '  response: amplify',
      'seed: 0',
      'checkpoint:',
      '  everyEpochs: 1',
      '  everyMinutes: 10',
      '  keep: 2',
      'resume: never',
      'restarts: 0',
      'barrierTimeout: 600',
      'skipLimit: 25',
      '',
    ].join('\n'),
  );
});

/** Throws what is not a one-line UsageError. */
function complains(work: () => unknown): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    expect(error.message).not.toMatch(/\n|\r/);
    expect(error.message).not.toMatch(/undefined|\[object|Invalid input|Too (small|big)/);
  }
}

const junk = fc.anything({ withNullPrototype: false, values: [fc.string(), fc.double(), fc.constant(null)] });
const keys = fc.constantFrom(
  'model',
  'dataset',
  'schedule',
  'amplification',
  'devices',
  'batchSize',
  'seed',
  'dumpGradients',
  'model.name',
  'schedule.0',
  'schedule.0.1',
  'devices.1',
  'amplification.reselect',
  '__proto__',
  'a.b',
);
const sound = { model: 'resnet8', dataset: 'cifar10', schedule: [[1, 0.1, true, 2]] };

test('a document with junk in it is refused with one line', () => {
  fc.assert(
    fc.property(fc.dictionary(keys, junk), (parts) =>
      complains(() => checkConfig({ ...sound, ...parts }, 'junk')),
    ),
  );
});

test('a file of junk is refused with one line', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.string({ unit: fc.constantFrom(...'[]{}:,&*!|>-?#%@`\'" \n\tab0.') }).map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(bytes, (bytes) => {
      writeFileSync(file, bytes);
      complains(() => loadConfig(file));
    }),
  );
});

test('a junk override is refused with one line', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.tuple(keys, fc.string({ unit: 'grapheme' })).map(([key, value]) => `${key}=${value}`),
    fc.tuple(keys, fc.json()).map(([key, value]) => `${key}=${value}`),
  );
  fc.assert(
    fc.property(fc.array(texts, { minLength: 1, maxLength: 3 }), (set) =>
      complains(() => checkConfig(sound, 'junk', { set })),
    ),
  );
  expect(({} as Record<string, unknown>).seed).toBeUndefined();
});
