// Which training images are held out: how many of each class, by what they are drawn, and what is left.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Dataset } from '../../src/data/dataset.ts';
import { partition, proportionalShares } from '../../src/data/partition.ts';
import { draw, Stream } from '../../src/random.ts';
import { randomSplit } from './fixtures.ts';

/** Labels alone matter here. */
function datasetOf(labels: readonly number[], classes: number): Dataset {
  const empty = { ...randomSplit(1), images: new Uint8Array() };
  return {
    name: 'cifar10',
    classes,
    train: { ...empty, size: labels.length, labels: Uint8Array.from(labels) },
    test: { ...empty, name: 'test', size: 7, labels: new Uint8Array(7) },
    normalisation: { mean: [0, 0, 0], std: [1, 1, 1] },
    synthetic: true,
  };
}

/** How many of the images have each class. */
const classCounts = (labels: Uint8Array, positions: Uint32Array, classes: number) =>
  Array.from({ length: classes }, (_, label) => positions.filter((index) => labels[index] === label).length);

describe('proportionalShares', () => {
  it('gives the largest remainders one more, ties the first', () => {
    // 10 of 6, 3, 3 in 12: 5, 2.5, 2.5. 7 of them: 3.5, 1.75, 1.75.
    expect(proportionalShares([6, 3, 3], 10)).toEqual([5, 3, 2]);
    expect(proportionalShares([6, 3, 3], 7)).toEqual([3, 2, 2]);
    expect(proportionalShares([5, 5, 5], 4)).toEqual([2, 1, 1]);
    expect(proportionalShares([0, 4], 3)).toEqual([0, 3]);
    expect(proportionalShares([6, 3, 3], 0)).toEqual([0, 0, 0]);
  });

  it('has the sum asked for and is nowhere a whole image from the proportional share', () => {
    const sizes = fc.array(fc.nat({ max: 5000 }), { minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(sizes, fc.double({ min: 0, max: 1, noNaN: true }), (sizes, share) => {
        const sum = sizes.reduce((a, b) => a + b, 0);
        fc.pre(sum > 0);
        const total = Math.floor(share * sum);
        const shares = proportionalShares(sizes, total);
        expect(shares.reduce((a, b) => a + b, 0)).toBe(total);
        for (const [index, size] of sizes.entries()) {
          expect(Math.abs(shares[index] - (total * size) / sum)).toBeLessThan(1);
          expect(shares[index]).toBeLessThanOrEqual(size);
        }
      }),
    );
  });
});

describe('partition', () => {
  /** 23, 21, ..., 5 images of classes 0 to 9, in an order of no rule. */
  const labels = Array.from({ length: 140 }, (_, i) => (i * 89) % 140).map((place) => {
    let label = 0;
    for (let end = 23; place >= end; end += 23 - 2 * label) label++;
    return label;
  });
  const dataset = datasetOf(labels, 10);

  it('holds images of every class out in proportion, and trains on all others', () => {
    const { training, validation } = partition(dataset, { validation: 14, seed: 5 });
    // A tenth of 23, 21, 19, 17, 15, 13, 11, 9, 7, 5: the floors are 2 2 1 1 1 1 1 0 0 0, the five largest remainders
    // .9 of the classes 2 and 7, .7 of 3 and 8, and .5 of 4, the first of two.
    expect(classCounts(dataset.train.labels, validation.indices, 10)).toEqual([2, 2, 2, 2, 2, 1, 1, 1, 1, 0]);
    const all = [...training.indices, ...validation.indices].sort((a, b) => a - b);
    expect(all).toEqual(labels.map((_, position) => position));
    for (const { split, indices } of [training, validation]) {
      expect(split).toBe(dataset.train);
      expect([...indices]).toEqual([...indices].sort((a, b) => a - b));
    }
  });

  it('holds out those of a class whose random keys are the smallest', () => {
    const { validation } = partition(dataset, { validation: 50, seed: 5 });
    const key = (position: number) => draw(5, Stream.validation, position)[0];
    const heldOut = [...validation.indices];
    for (let label = 0; label < 10; label++) {
      const ofClass = labels.flatMap((other, position) => (other === label ? [position] : []));
      const count = heldOut.filter((position) => labels[position] === label).length;
      const smallest = ofClass.toSorted((a, b) => key(a) - key(b)).slice(0, count);
      expect(heldOut.filter((position) => labels[position] === label)).toEqual(
        smallest.toSorted((a, b) => a - b),
      );
    }
  });

  it('is the same for a seed, and another for another', () => {
    const heldOut = (seed: number) => [...partition(dataset, { validation: 40, seed }).validation.indices];
    expect(heldOut(5)).toEqual(heldOut(5));
    expect(heldOut(5)).not.toEqual(heldOut(6));
  });

  it('holds out 500 of each class of the real CIFAR-10, and what a smaller share holds out too', () => {
    const cifar = datasetOf(
      Array.from({ length: 50_000 }, (_, position) => position % 10),
      10,
    );
    const { training, validation } = partition(cifar, { validation: 5000, seed: 0 });
    expect(classCounts(cifar.train.labels, validation.indices, 10)).toEqual(Array(10).fill(500));
    expect(training.indices).toHaveLength(45_000);
    const larger = new Set(validation.indices);
    const smaller = partition(cifar, { validation: 1000, seed: 0 }).validation.indices;
    expect(smaller.every((position) => larger.has(position))).toBe(true);
  });

  it('leaves the test images, and without validation all training images, as they are', () => {
    const { training, validation, test } = partition(dataset, { validation: 0, seed: 5 });
    expect([...training.indices]).toEqual(labels.map((_, position) => position));
    expect(validation.indices).toHaveLength(0);
    expect([...test.indices]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(test.split).toBe(dataset.test);
  });
});
