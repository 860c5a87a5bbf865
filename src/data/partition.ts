// Which images a run trains on, which it holds out of the training split to choose by, and which it reports: lists of
// positions, no copies of images.

import { UsageError } from '../errors.ts';
import { draw, Stream } from '../random.ts';
import type { Dataset, Samples } from './dataset.ts';

/** What is evaluated. */
export type EvaluatedPart = 'validation' | 'test';

/** Positions in ascending order; training and validation images are the training split, each once. */
export type Partition = Readonly<Record<'training' | EvaluatedPart, Samples>>;

export interface HoldOutOptions {
  /** Images of the training split that are held out: 0..its size. */
  readonly validation: number;
  /** 0..2^32-1. */
  readonly seed: number;
}

/**
 * Holds images out of the training split, stratified: of each class the floor or the ceiling of its proportional share,
 * the largest remainders rounded up, ties by class. Within a class those with the smallest random keys, which depend on
 * (seed, position) alone, ties by position.
 *
 * The normalisation stays that of the whole training split: six moments without labels, of which the held-out images
 * are a random share, and so every choice of them leaves the pixels of all others as they are.
 */
export function partition({ train, test, classes }: Dataset, options: HoldOutOptions): Partition {
  const heldOut = new Uint8Array(train.size);
  const members = positionsByClass(train.labels, classes);
  const sizes = members.map(({ length }) => length);
  for (const [label, size] of proportionalShares(sizes, options.validation).entries()) {
    for (const position of smallestKeys(members[label], size, options.seed)) heldOut[position] = 1;
  }
  const positions = allPositions(train.size);
  return {
    training: { split: train, indices: positions.filter((position) => heldOut[position] === 0) },
    validation: { split: train, indices: positions.filter((position) => heldOut[position] === 1) },
    test: { split: test, indices: allPositions(test.size) },
  };
}

/** 0..size-1, uint32. */
export function allPositions(size: number): Uint32Array {
  return Uint32Array.from({ length: size }, (_, position) => position);
}

/**
 * `total` dealt out in proportion to `sizes`, by largest remainders. In whole numbers, so that equal remainders are
 * found equal.
 */
export function proportionalShares(sizes: readonly number[], total: number): readonly number[] {
  const sum = sizes.reduce((a, b) => a + b, 0);
  const shares = sizes.map((size) => Math.floor((total * size) / sum));
  const left = total - shares.reduce((a, b) => a + b, 0);
  const remainders = sizes.map((size, index) => ({ index, remainder: (total * size) % sum }));
  remainders.sort((a, b) => b.remainder - a.remainder || a.index - b.index);
  for (const { index } of remainders.slice(0, left)) shares[index]++;
  return shares;
}

function positionsByClass(labels: Uint8Array, classes: number): readonly (readonly number[])[] {
  const members = Array.from({ length: classes }, (): number[] => []);
  for (const [position, label] of labels.entries()) members[label].push(position);
  return members;
}

function smallestKeys(positions: readonly number[], count: number, seed: number): readonly number[] {
  if (count === 0) return [];
  return positions
    .map((position) => ({ position, key: draw(seed, Stream.validation, position)[0] }))
    .sort((a, b) => a.key - b.key || a.position - b.position)
    .slice(0, count)
    .map(({ position }) => position);
}

export interface TrainingSplit {
  /** Images in the training split. */
  readonly size: number;
  readonly classes: number;
  /** Where it lies, for the message. */
  readonly dataDir: string;
}

/** @throws UsageError where too few are held out for every class to be there, or too few are left for a batch. */
export function checkValidation(
  { validation, batchSize }: { readonly validation: number; readonly batchSize: number },
  { size, classes, dataDir }: TrainingSplit,
): void {
  if (validation > 0 && validation < classes) {
    throw new UsageError(
      `validation: expected 0, or at least ${classes}, an image for each of the ${classes} classes, got ${validation}; hold out more`,
    );
  }
  if (validation > 0 && size - validation < batchSize) {
    throw new UsageError(
      `validation: expected at most ${Math.max(size - batchSize, 0)}, so that a batch of ${batchSize} is left of the ${size} training images in ${dataDir}, ` +
        `got ${validation}; hold out fewer or use a smaller batch`,
    );
  }
}
