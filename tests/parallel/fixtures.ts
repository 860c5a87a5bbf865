// Small data sets, configs and worker groups for the tests of parallel training.

import type { SelectionRule } from '../../src/amplification/selection.ts';
import { checkConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { type Dataset, IMAGE_BYTES, type Split } from '../../src/data/dataset.ts';
import { buildModel } from '../../src/models/index.ts';
import { createControlBuffers } from '../../src/parallel/control.ts';
import { createStore } from '../../src/parallel/store.ts';
import type { TrainerSetup } from '../../src/parallel/trainer.ts';
import { draw, Stream } from '../../src/random.ts';

/** A config with sensible settings for a small test; `changes` in the form of a config file. */
export function testConfig(changes: Record<string, unknown>): Config {
  const document = {
    model: { name: 'resnet8', width: 0.25 },
    dataset: 'cifar10',
    engine: 'tfjs',
    batchSize: 16,
    schedule: [[1, 0.1, false, 1]],
    ...changes,
  };
  return checkConfig(document, 'test');
}

/** A rule as a config without further keys has it. */
export const DEFAULT_RULE: SelectionRule = {
  measure: 'G',
  case: 1,
  threshold: 1.5,
  selection: 'threshold',
  score: 'value',
  deviation: 'population',
  pooling: 'layer',
  countDeadWeights: true,
  response: 'amplify',
};

/** Ten classes of noise, each with its own brightness of the three channels: learnable, and quick to make. */
export function brightnessDataset(sizes: { train: number; test: number }, seed = 0): Dataset {
  const split = (name: Split['name'], size: number): Split => {
    const memory = new Uint8Array(new SharedArrayBuffer(size * (IMAGE_BYTES + 1)));
    const images = memory.subarray(0, size * IMAGE_BYTES);
    const labels = memory.subarray(size * IMAGE_BYTES);
    for (let i = 0; i < size; i++) {
      labels[i] = i % 10;
      for (let byte = 0; byte < IMAGE_BYTES; byte += 4) {
        const words = draw(seed, Stream.synthetic, name === 'train' ? 0 : 1, i, byte);
        const channel = Math.floor(byte / 1024);
        const level = 40 + 16 * ((labels[i] * (channel + 3)) % 10);
        for (let j = 0; j < 4; j++) images[i * IMAGE_BYTES + byte + j] = level + (words[j] % 64) - 32;
      }
    }
    return { name, size, images, labels };
  };
  return {
    name: 'cifar10',
    classes: 10,
    train: split('train', sizes.train),
    test: split('test', sizes.test),
    normalisation: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
    synthetic: true,
  };
}

/** What the workers of one group share, and each one's set-up. */
export function groupSetups(config: Config, dataset: Dataset) {
  const graph = buildModel({ ...config.model, classes: dataset.classes });
  const store = createStore(graph, config);
  const control = createControlBuffers(config.devices.length);
  const setups = config.devices.map((_, rank): TrainerSetup => ({ rank, config, dataset, store, control }));
  return { graph, store, setups };
}

export const devices = (count: number): string[] => Array(count).fill('cpu');
