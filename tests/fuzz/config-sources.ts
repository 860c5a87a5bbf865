// Configs as users may write them, right and wrong: documents, YAML texts and overrides, most of them near to valid ones.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { configDocument } from '../../src/config/load.ts';
import { documentOf } from '../../src/config/resolve.ts';
import { documentSchema } from '../../src/config/schema.ts';
import { fromPackage } from '../../src/package-root.ts';
import { configs } from '../config/arbitrary-configs.ts';
import { edited, edits, junk } from './trees.ts';

export type ConfigSource =
  | { readonly kind: 'document'; readonly document: unknown }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'override'; readonly set: readonly string[] };

/** The file that a text may extend. */
export const BASE = 'base.yaml';

export const SHIPPED: readonly string[] = readdirSync(fromPackage('configs')).map((name) =>
  readFileSync(join(fromPackage('configs'), name), 'utf8'),
);

const ANCHORED = `model: &m { name: resnet8, width: 0.5 }
dataset: &d cifar10
seeds: { weights: &s 7, order: *s, selection: *s }
schedule:
  - &p [10, 0.1, false, 1]
  - [20, 0.1, true, 2]
name: *d
devices: [cpu, cpu]
checkpoint: { everyEpochs: 2, keep: 3 }
learningRate: { policy: one-cycle, peak: 0.4, warmup: 3 }
`;
const EXTENDING = `extends: ${BASE}
amplification: { measure: Gprime, case: 2 }
momentum: null
schedule: [[3, 0.1, true, 2]]
`;

const documents = fc
  .tuple(configs, fc.oneof(fc.constant([]), edits(1), edits(3)))
  .map(([config, changes]): ConfigSource => {
    return { kind: 'document', document: edited(documentOf(config), changes) };
  });

/** What YAML has a meaning for, what it refuses, and what no config holds. */
const TOKENS = [
  ...[
    '&a ',
    '*a',
    '*',
    '&',
    '!!map ',
    '!!float ',
    '!x ',
    '!<tag:x> ',
    '<<: *a',
    '? ',
    ': ',
    '- ',
    '"',
    "'",
    '|',
    '>-',
  ],
  ...[
    '\t',
    '\r\n',
    '\r',
    '\n',
    '\u0000',
    '\ufeff',
    '\u0085',
    '\u2028',
    '\ud800',
    '🙂',
    'é',
    '#',
    ' #',
    ',',
    '%',
    '@',
    '`',
  ],
  ...[
    'null',
    '~',
    '.nan',
    '-.inf',
    '1e999',
    '0x1f',
    '0o7',
    '1_000',
    '-1',
    '+1',
    '1e-400',
    '9'.repeat(400),
    'yes',
    'off',
  ],
  ...[
    '---\n',
    '...\n',
    '%YAML 1.1\n---\n',
    '%TAG ! tag:x,2000:\n---\n',
    '{',
    '}',
    '[',
    ']',
    '{}',
    '[]',
    '[[]]',
  ],
  ...[
    '\n__proto__: { model: resnet8 }\n',
    '\nconstructor: 1\n',
    '{ __proto__: null }',
    '\nseed: 1\n',
    '\nextends: .\n',
  ],
  ...['[', '{ a: ', '- ', '? ', '[{', '&a [', '"', '(', ' '].map((token) => token.repeat(3000)),
  ...[
    'a'.repeat(5000),
    `\n${'b'.repeat(900)}: 1\n`,
    `!${'c'.repeat(900)} `,
    `*${'d'.repeat(900)}`,
    `"\\x${'e'.repeat(900)}"`,
  ],
  ...['\nlars: &b [*b]\n', '\nseeds: &c { weights: *c }\n', bomb(20)],
];

/** Every anchor holds the one before it many times. */
function bomb(levels: number): string {
  const lines = ['\na0: &a0 [x, x]'];
  for (let i = 1; i < levels; i++) lines.push(`a${i}: &a${i} { a: *a${i - 1}, b: *a${i - 1} }`);
  return `${lines.join('\n')}\n`;
}

interface LineEdit {
  readonly kind: 'remove' | 'double' | 'swap' | 'indent' | 'insert' | 'value' | 'character';
  readonly line: number;
  readonly other: number;
  readonly token: string;
}

const lineEdits: fc.Arbitrary<LineEdit> = fc.record({
  kind: fc.constantFrom('remove', 'double', 'swap', 'indent', 'insert', 'value', 'character'),
  line: fc.nat(1000),
  other: fc.nat(1000),
  token: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...TOKENS) },
    fc.string({ unit: 'binary', maxLength: 3 }),
    fc.double().map(String),
    fc.json({ maxDepth: 2 }),
  ),
});

const texts = fc
  .tuple(
    fc.oneof(fc.constantFrom(...SHIPPED, ANCHORED, EXTENDING), configs.map(configDocument)),
    fc.array(lineEdits, { minLength: 1, maxLength: 3 }),
  )
  .map(([text, changes]): ConfigSource => ({ kind: 'text', text: changes.reduce(withLineEdit, text) }));

function withLineEdit(text: string, { kind, line, other, token }: LineEdit): string {
  const lines = text.split('\n');
  const index = line % lines.length;
  const current = lines[index];
  const column = other % (current.length + 1);
  const put = (...replacement: string[]) => lines.toSpliced(index, 1, ...replacement).join('\n');
  switch (kind) {
    case 'remove':
      return put();
    case 'double':
      return put(current, current);
    case 'swap':
      lines[index] = lines[other % lines.length];
      lines[other % lines.length] = current;
      return lines.join('\n');
    case 'indent':
      return put(other % 2 ? `${' '.repeat(other % 5)}${current}` : current.trimStart());
    case 'insert':
      return put(`${current.slice(0, column)}${token}${current.slice(column)}`);
    case 'value':
      return put(current.replace(/(: ?).*$/, (_, colon: string) => `${colon}${token}`));
    case 'character':
      return put(`${current.slice(0, column)}${token.slice(0, 1)}${current.slice(column + 1)}`);
    default:
      return kind satisfies never;
  }
}

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

const overrides = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...FITTING) },
      { weight: 4, arbitrary: assignment },
      fc.string(),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((set): ConfigSource => ({ kind: 'override', set }));

export const configSources: fc.Arbitrary<ConfigSource> = fc.oneof(
  { weight: 2, arbitrary: documents },
  { weight: 2, arbitrary: texts },
  { weight: 1, arbitrary: overrides },
);
