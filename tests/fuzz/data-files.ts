// Data sets with damaged files: a set that is read is whole, with labels in range; every other is refused.

import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { readCifar } from '../../src/data/cifar.ts';
import { type Dataset, type DatasetName, IMAGE_BYTES } from '../../src/data/dataset.ts';
import { DESCRIPTION_FILE } from '../../src/data/layout.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { UsageError } from '../../src/errors.ts';
import { type Damage, damaged, damages } from './bytes.ts';
import { outcomeOf, Tally } from './outcome.ts';
import { edited, edits } from './trees.ts';

const IMAGES = { train: 10, test: 4 };

/** Contents by the file's name. */
type Files = ReadonlyMap<string, Uint8Array>;

interface Source {
  readonly dataset: DatasetName;
  readonly kind: 'damaged' | 'other labels' | 'other description' | 'missing' | 'giant';
  /** Of which file, taken modulo their number. */
  readonly place: number;
  readonly damage: readonly Damage[];
  readonly edits: Parameters<typeof edited>[1];
  readonly label: number;
}

const sources: fc.Arbitrary<Source> = fc.record({
  dataset: fc.constantFrom('cifar10', 'cifar100'),
  kind: fc.constantFrom('damaged', 'damaged', 'other labels', 'other description', 'missing', 'giant'),
  place: fc.nat(100),
  damage: damages,
  edits: edits(2),
  label: fc.nat(255),
});

/** @param folder for data. */
export async function fuzzData(runs: number, seed: number, folder: string): Promise<Tally> {
  const sets = {
    cifar10: await wholeSet('cifar10', join(folder, 'cifar10')),
    cifar100: await wholeSet('cifar100', join(folder, 'cifar100')),
  };
  const directory = join(folder, 'changed');
  const tally = new Tally();
  const property = fc.asyncProperty(sources, async (source) => {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    writeChanged(directory, sets[source.dataset], source);
    const outcome = await outcomeOf([UsageError], () => readCifar(source.dataset, directory));
    tally.count(`${source.dataset}, ${source.kind}`, outcome);
    if ('value' in outcome) checkSet(outcome.value);
  });
  await fc.assert(property, { numRuns: runs, seed });
  return tally;
}

async function wholeSet(dataset: DatasetName, directory: string): Promise<Files> {
  await synthesize({ dataset, directory, seed: 11, ...IMAGES });
  return new Map(
    readdirSync(directory).map((name) => [name, Uint8Array.from(readFileSync(join(directory, name)))]),
  );
}

function writeChanged(directory: string, files: Files, { kind, place, damage, edits, label }: Source): void {
  const changed = new Map(files);
  const images = [...files.keys()].filter((name) => name.endsWith('.bin'));
  const name = kind === 'other description' ? DESCRIPTION_FILE : images[place % images.length];
  const bytes = files.get(name)!;
  if (kind === 'missing') changed.delete(name);
  else if (kind === 'damaged') changed.set(name, damaged(bytes, damage));
  else if (kind === 'other labels') changed.set(name, bytes.with(0, label));
  else if (kind === 'other description') {
    changed.set(name, damagedDescription(bytes, damage, edits, label));
  }
  for (const [name, bytes] of changed) writeFileSync(join(directory, name), bytes);
  if (kind === 'giant') growBeyondMemory(directory, files, name, label);
}

/** A file of holes, which takes no room on the disk, and a description that says so. */
function growBeyondMemory(directory: string, files: Files, name: string, choice: number): void {
  const labels = files.has('train.bin') ? 2 : 1;
  const records = Math.ceil(totalmem() / IMAGE_BYTES) * 2 ** (choice % 8);
  truncateSync(join(directory, name), records * (labels + IMAGE_BYTES));
  const split = name.startsWith('test') ? 'test' : 'train';
  const description = JSON.parse(Buffer.from(files.get(DESCRIPTION_FILE)!).toString());
  const before = files.get(name)!.length / (labels + IMAGE_BYTES);
  const lying = { ...description, [split]: IMAGES[split] - before + records };
  writeFileSync(join(directory, DESCRIPTION_FILE), JSON.stringify(lying));
}

function damagedDescription(
  bytes: Uint8Array,
  damage: readonly Damage[],
  edits: Source['edits'],
  choice: number,
): Uint8Array {
  if (choice % 2) return damaged(bytes, damage);
  const description = edited(JSON.parse(Buffer.from(bytes).toString()), edits);
  return Buffer.from(JSON.stringify(description) ?? '');
}

function checkSet({ train, test, classes, normalisation }: Dataset): void {
  for (const { images, labels, size } of [train, test]) {
    expect(images).toHaveLength(size * IMAGE_BYTES);
    expect(labels).toHaveLength(size);
    expect(Math.max(...labels)).toBeLessThan(classes);
  }
  expect({ train: train.size, test: test.size }).toEqual(IMAGES);
  for (const value of [...normalisation.mean, ...normalisation.std]) expect(value).toBeGreaterThan(0);
}
