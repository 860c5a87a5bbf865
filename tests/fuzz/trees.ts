// Plain data with some of its values replaced, left out or doubled.

import fc from 'fast-check';

/** What takes the place of a value. */
const NUMBERS = [
  0,
  -0,
  -1,
  1,
  2,
  3,
  0.5,
  1e-320,
  1e300,
  -1e300,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  Number.MAX_SAFE_INTEGER,
];
const TEXTS = [
  '',
  ' ',
  'none',
  'cpu',
  'cuda:0',
  'resnet18',
  'a'.repeat(3000),
  'a\nb',
  '\u0000\u2028',
  '../..',
  '漢🙂',
];

export const junk: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom<unknown>(...NUMBERS) },
  { weight: 2, arbitrary: fc.constantFrom<unknown>(...TEXTS) },
  fc.constantFrom<unknown>(null, true, false, [], {}, [[]], Number.NaN, Number.POSITIVE_INFINITY),
  fc.double(),
  fc.integer({ min: -3, max: 20 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer({ min: 1, max: 200 }).map(nest),
);

/** Lists in each other. */
function nest(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = [value];
  return value;
}

const KEYS = ['__proto__', 'constructor', 'toString', 'length', '0', '', 'extends', 'modle', 'x'.repeat(500)];

interface Edit {
  /** Of which value, counted through the tree and taken modulo their number. */
  readonly place: number;
  readonly kind: 'replace' | 'remove' | 'double' | 'add' | 'rename';
  readonly key: string;
  readonly value: unknown;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  place: fc.nat(100_000),
  kind: fc.constantFrom('replace', 'replace', 'replace', 'remove', 'double', 'add', 'rename'),
  key: fc.constantFrom(...KEYS),
  value: junk,
});

/** Edits to be made one after the other. */
export const edits = (most: number): fc.Arbitrary<readonly Edit[]> =>
  fc.array(edit, { minLength: 1, maxLength: most });

/** A copy with the edits made. */
export function edited(tree: unknown, changes: readonly Edit[]): unknown {
  return changes.reduce((current, change) => {
    const { length } = [...places(current)];
    let left = change.place % Math.max(1, length);
    return rebuild(current, () => left-- === 0, change);
  }, tree);
}

const isBranch = (value: unknown): value is Record<string, unknown> | unknown[] =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);

/** One of every value that stands in a list or a map. */
function* places(tree: unknown): Generator<unknown> {
  if (!isBranch(tree)) return;
  for (const value of Object.values(tree)) {
    yield value;
    yield* places(value);
  }
}

function rebuild(tree: unknown, isPlace: () => boolean, change: Edit): unknown {
  if (!isBranch(tree)) return tree;
  const entries = Object.entries(tree).flatMap(([key, value]): [string, unknown][] =>
    isPlace() ? changedEntries(key, value, change) : [[key, rebuild(value, isPlace, change)]],
  );
  return Array.isArray(tree) ? entries.map(([, value]) => value) : Object.fromEntries(entries);
}

function changedEntries(key: string, value: unknown, change: Edit): [string, unknown][] {
  switch (change.kind) {
    case 'replace':
      return [[key, change.value]];
    case 'remove':
      return [];
    case 'double':
      return [
        [key, value],
        [`${key}2`, value],
      ];
    case 'add':
      return [
        [key, value],
        [change.key, change.value],
      ];
    case 'rename':
      return [[change.key, value]];
    default:
      return change.kind satisfies never;
  }
}
