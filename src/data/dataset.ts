// CIFAR in memory: what the readers produce and what batches are drawn from.

export type DatasetName = 'cifar10' | 'cifar100';

export const IMAGE_SIZE = 32;
export const IMAGE_CHANNELS = 3;
/** Bytes of one image. */
export const IMAGE_BYTES = IMAGE_CHANNELS * IMAGE_SIZE * IMAGE_SIZE;

/** Images and labels of one split, views of one SharedArrayBuffer that all threads read and none writes. */
export interface Split {
  readonly name: 'train' | 'test';
  readonly size: number;
  /** [size, 3, 32, 32], planes R, G, B, rows top to bottom, 0..255: the layout of the archives. */
  readonly images: Uint8Array;
  /** [size], 0..classes-1 (of CIFAR-100 the fine labels). */
  readonly labels: Uint8Array;
}

/** Per channel, of pixels scaled to 0..1. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface Dataset {
  readonly name: DatasetName;
  readonly classes: number;
  readonly train: Split;
  readonly test: Split;
  /** Of the whole training split, whatever is held out of it: see `partition`. */
  readonly normalisation: Normalisation;
  /** Made by `gradamp data synthesize`: accuracies on it say nothing about CIFAR. */
  readonly synthetic: boolean;
}

/** How the samples of one batch are changed; the arrays are parallel to the batch's indices. */
export interface Augmentation {
  /** First row and column of the 32x32 window in the image padded by 4: 0..8. */
  readonly top: Uint8Array;
  readonly left: Uint8Array;
  /** 1: mirrored left to right after the crop. */
  readonly flip: Uint8Array;
}

/** Some samples of a split. */
export interface Samples {
  readonly split: Split;
  /** Positions in the split. */
  readonly indices: Uint32Array;
}

/** The samples of one pass. */
export interface Batch extends Samples {
  /** Absent in evaluation. */
  readonly augmentation?: Augmentation;
}
