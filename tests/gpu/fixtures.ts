// The engines that the tests on a GPU compare, and runs of one worker group on it. The device is that of the environment's
// GRADAMP_TEST_DEVICE.

import { addSums, type DirectionSums } from '../../src/amplification/directionality.ts';
import type { Precision } from '../../src/config/schema.ts';
import type { Engine } from '../../src/engines/engine.ts';
import { createEngine } from '../../src/engines/index.ts';
import { loadAddon } from '../../src/engines/torch/load.ts';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { brightnessDataset, groupSetups, testConfig } from '../parallel/fixtures.ts';

export const device = process.env.GRADAMP_TEST_DEVICE ?? 'cuda:0';

/** For the process: the settings of cuDNN are those of the last one that was made. */
export function gpu(precision: Precision = 'float32'): Promise<Engine> {
  return createEngine({ engine: 'torch', backend: 'wasm', device, precision, deterministic: true });
}

export function processors(): Promise<Engine> {
  return createEngine({ engine: 'torch', backend: 'wasm', device: 'cpu', threads: 8 });
}

export const addon = loadAddon();

/** What a run leaves behind. */
export interface Trained {
  readonly lossSum: number;
  readonly correct: number;
  readonly iterations: number;
  readonly skipped: number;
  readonly diverged: boolean;
  readonly weights: Float32Array;
  readonly velocity: Float32Array;
  readonly statistics: Float32Array;
  /** Of the layers, where they were measured. */
  readonly sums: readonly DirectionSums[];
  readonly test: { readonly lossSum: number; readonly correct: number };
}

export interface TrainingOptions {
  readonly train?: number;
  readonly steps?: number;
  readonly epochs?: number;
  readonly factors?: ReadonlyMap<string, number>;
  /** In place of `factors`. */
  readonly byEpoch?: readonly ReadonlyMap<string, number>[];
  readonly analysed?: boolean;
  readonly learningRate?: number;
}

/** Epochs of a fresh worker group, with a config of `changes`. */
export async function trained(
  changes: Record<string, unknown>,
  options: TrainingOptions = {},
): Promise<Trained> {
  const { train = 96, steps, epochs = 1, factors = new Map(), analysed = true, learningRate = 0.1 } = options;
  const config = testConfig({ engine: 'torch', batchSize: 32, deterministic: true, ...changes });
  const dataset = brightnessDataset({ train, test: 40 });
  const { store, setups } = groupSetups(config, dataset);
  const group = new WorkerGroup(setups);
  try {
    await group.all((worker) => worker.start());
    let last: Pick<Trained, 'lossSum' | 'correct' | 'iterations' | 'skipped' | 'diverged'> | undefined;
    for (let epoch = 1; epoch <= epochs; epoch++) {
      const order = {
        ...{ epoch, learningRate, analysed, factors: options.byEpoch?.[epoch - 1] ?? factors },
        ...(steps !== undefined && { steps: [0, steps] as const }),
      };
      const results = await group.all((worker) => worker.train(order));
      const sum = (key: 'lossSum' | 'correct') => results.reduce((total, part) => total + part[key], 0);
      const [{ iterations, skipped, diverged }] = results;
      last = { lossSum: sum('lossSum'), correct: sum('correct'), iterations, skipped, diverged };
    }
    if (!last) throw new Error('expected an epoch');
    const measured = analysed ? await group.all((worker) => worker.measure()) : [];
    const tested = await group.all((worker) => worker.evaluate('test'));
    await group.all((worker) => worker.publish());
    const sums = (measured[0] ?? []).map((_, layer) => measured.map((shard) => shard[layer]).reduce(addSums));
    return {
      ...last,
      weights: store.weights.slice(),
      velocity: store.velocity.slice(),
      statistics: store.statistics[0].slice(),
      sums,
      test: {
        lossSum: tested.reduce((total, part) => total + part.lossSum, 0),
        correct: tested.reduce((total, part) => total + part.correct, 0),
      },
    };
  } finally {
    await group.close();
  }
}

export const bits = (vector: Float32Array): Buffer =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
