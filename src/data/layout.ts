// The binary layouts of the CIFAR-10 and CIFAR-100 archives (www.cs.toronto.edu/~kriz/cifar.html): a record is its
// label bytes, then one image. Tables only; cifar.ts reads by them, cifar-writer.ts writes by them.

import { type DatasetName, IMAGE_BYTES, type Split } from './dataset.ts';

export interface LabelByte {
  readonly kind: 'class' | 'coarse' | 'fine';
  /** The byte is 0..classes-1. */
  readonly classes: number;
  /** Holds the classes' names, one a line. */
  readonly namesFile: string;
}

export interface Layout {
  readonly title: string;
  /** The folder that the official archive unpacks to. */
  readonly folder: string;
  readonly archive: string;
  /** Bytes before the image. */
  readonly labels: readonly LabelByte[];
  /** Which of them is learned. */
  readonly target: number;
  readonly files: Readonly<Record<Split['name'], readonly string[]>>;
  /** Records in each official file. */
  readonly officialRecords: Readonly<Record<Split['name'], number>>;
}

const layouts: Record<DatasetName, Layout> = {
  cifar10: {
    title: 'CIFAR-10',
    folder: 'cifar-10-batches-bin',
    archive: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    labels: [{ kind: 'class', classes: 10, namesFile: 'batches.meta.txt' }],
    target: 0,
    files: {
      train: [1, 2, 3, 4, 5].map((batch) => `data_batch_${batch}.bin`),
      test: ['test_batch.bin'],
    },
    officialRecords: { train: 10_000, test: 10_000 },
  },
  cifar100: {
    title: 'CIFAR-100',
    folder: 'cifar-100-binary',
    archive: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    labels: [
      { kind: 'coarse', classes: 20, namesFile: 'coarse_label_names.txt' },
      { kind: 'fine', classes: 100, namesFile: 'fine_label_names.txt' },
    ],
    target: 1,
    files: { train: ['train.bin'], test: ['test.bin'] },
    officialRecords: { train: 50_000, test: 10_000 },
  },
};

export function describeLayout(name: DatasetName): Layout {
  return layouts[name];
}

/** How many classes are learned. */
export function classesOf(name: DatasetName): number {
  const { labels, target } = layouts[name];
  return labels[target].classes;
}

export function recordBytes(layout: Layout): number {
  return layout.labels.length + IMAGE_BYTES;
}

/** Beside the data files of a set that `gradamp data synthesize` made: a SyntheticDescription. */
export const DESCRIPTION_FILE = 'synthetic.json';

/** What a synthetic set was made from: the same description gives the same bytes. */
export interface SyntheticDescription {
  readonly synthetic: true;
  readonly dataset: DatasetName;
  /** Images in the split. */
  readonly train: number;
  readonly test: number;
  readonly seed: number;
  /** 0..1, from clean pictures to cluttered ones. */
  readonly difficulty: number;
  /** Of the generator. */
  readonly version: number;
}
