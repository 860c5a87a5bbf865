// Noise in the form of CIFAR-10: the content of images does not matter to any kernel.

import { augment } from '../src/data/augmentation.ts';
import {
  type Batch,
  type Dataset,
  IMAGE_BYTES,
  type Normalisation,
  type Split,
} from '../src/data/dataset.ts';
import { draw, Stream } from '../src/random.ts';

export const normalisation: Normalisation = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
export const CLASSES = 10;

const BYTES_OF_A_DRAW = 16;

export function noiseSplit(size: number): Split {
  const images = new Uint8Array(new SharedArrayBuffer(size * IMAGE_BYTES));
  const words = new Uint32Array(images.buffer);
  for (let byte = 0; byte < images.length; byte += BYTES_OF_A_DRAW) {
    words.set(draw(0, Stream.synthetic, byte), byte / Uint32Array.BYTES_PER_ELEMENT);
  }
  const labels = new Uint8Array(new SharedArrayBuffer(size)).map((_, i) => i % CLASSES);
  return { name: 'train', size, images, labels };
}

export function noiseDataset(size: number): Dataset {
  const train = noiseSplit(size);
  return {
    name: 'cifar10',
    classes: CLASSES,
    train,
    test: { ...train, name: 'test' },
    normalisation,
    synthetic: true,
  };
}

/** All of a small split as one batch, cropped and flipped as in training. */
export function noiseBatch(size: number): Batch {
  const split = noiseSplit(size);
  const indices = Uint32Array.from(split.labels.keys());
  return { split, indices, augmentation: augment(0, 1, indices) };
}
