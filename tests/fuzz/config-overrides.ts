// Overrides of a config as `--set` takes them, right and wrong.

import fc from 'fast-check';
import { documentSchema } from '../../src/config/schema.ts';
import { TOKENS } from './config-texts.ts';
import { junk } from './trees.ts';

/** Keys that there are, and others. */
const DOTTED = [
  ...Object.keys(documentSchema.shape),
  ...['model.name', 'model.width', 'schedule.0', 'schedule.0.1', 'schedule.1.0', 'devices.1', 'seeds.order'],
  ...[
    'amplification.threshold',
    'amplification.case',
    'amplification.response',
    'checkpoint.keep',
    'lars.trust',
  ],
  ...[
    'learningRate.policy',
    'learningRate.peak',
    '__proto__',
    'constructor.prototype',
    'a.b',
    'schedule.-1',
    '',
  ],
  ...[
    'a.'.repeat(4000),
    'schedule.0.1.2.3',
    'schedule.99999999999',
    'x'.repeat(2000),
    'model.name.x',
    'model.\n',
  ],
];

/** Values that some key takes. */
const VALUES = [
  ...[
    'resnet8',
    'resnet20',
    'cifar100',
    'auto',
    'tfjs',
    'torch',
    'wasm',
    '[cpu, cpu]',
    '[cpu]',
    'true',
    'false',
    '0',
  ],
  ...[
    '1',
    '2',
    '4',
    '0.5',
    '0.1',
    '1e-3',
    '[[5, 0.1, true, 2]]',
    'none',
    'phases',
    'never',
    '[1, 2]',
    '{ trust: 0.01 }',
  ],
  ...[
    '{ policy: cosine, peak: 0.1 }',
    '{ width: 0.5, name: vgg19 }',
    'null',
    '{}',
    'random',
    'freeze',
    'data',
  ],
];

const assignment = fc
  .tuple(
    fc.constantFrom(...DOTTED),
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...VALUES) },
      fc.constantFrom(...TOKENS),
      junk.map((value) => JSON.stringify(value) ?? ''),
      fc.string({ unit: 'grapheme' }),
    ),
  )
  .map(([key, value]) => `${key}=${value}`);

/** Each is right by itself. */
const FITTING = [
  ...[
    'model=resnet20',
    'model.width=0.5',
    'dataset=cifar100',
    'batchSize=64',
    'schedule.0.1=1e-3',
    'seeds.order=4',
  ],
  ...[
    'schedule.1=[5, 0.1, false, 1]',
    'amplification=none',
    'amplification.case=2',
    'lars={}',
    'checkpoint.keep=3',
  ],
  ...[
    'learningRate={ policy: cosine, peak: 0.1 }',
    'name=a.b',
    'devices=[cpu, cpu]',
    'clipNorm=null',
    'seed=0x1f',
  ],
];

/** What is given to `--set`, in order. */
export const configOverrides: fc.Arbitrary<readonly string[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...FITTING) },
    { weight: 4, arbitrary: assignment },
    fc.string(),
  ),
  { minLength: 1, maxLength: 3 },
);
