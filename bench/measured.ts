// What is measured: a training step as `gradamp train` takes it, described by the same config.

import { checkConfig } from '../src/config/load.ts';
import type { Config, ModelName, Precision } from '../src/config/schema.ts';
import { chooseEngine } from '../src/engines/index.ts';
import { threadsPerWorker } from '../src/engines/torch/threads.ts';
import type { Graph } from '../src/models/graph.ts';
import { buildModel } from '../src/models/index.ts';
import { checkSizes } from '../src/parallel/sizes.ts';
import { CLASSES } from './synthetic-data.ts';

/** Options that the benchmarks of a training step share. */
export interface MeasuredOptions {
  readonly model: ModelName;
  readonly width: number;
  /** Images a step, over all workers. */
  readonly batch: number;
  readonly workers: number;
  /** `cuda`: worker i takes cuda:i. */
  readonly device: 'cpu' | 'cuda';
  readonly engine: Config['engine'];
  readonly backend: Config['backend'];
  /** Without it the config's default. */
  readonly precision?: Precision;
  /** `key=value` of any other key of a config. */
  readonly set: readonly string[];
}

/** How a result names what was measured. */
export interface Measured {
  readonly model: ModelName;
  readonly width: number;
  readonly parameters: number;
  readonly batch: number;
  readonly precision: Config['precision'];
  readonly workers: number;
  readonly devices: readonly string[];
  /** Of each worker. */
  readonly threads: number;
}

/** So small that training on noise stays finite. */
const LEARNING_RATE = 1e-3;

/**
 * A config whose engine is a named one.
 *
 * @throws UsageError as `gradamp train`: what cannot be trained cannot be measured.
 */
export function measuredConfig(
  { model, width, batch, workers, device, engine, backend, precision, set }: MeasuredOptions,
  amplification: 'none' | Record<string, never> = 'none',
): Config {
  const devices = Array.from({ length: workers }, (_, rank) =>
    device === 'cpu' ? device : `${device}:${rank}`,
  );
  const config = checkConfig(
    {
      ...{ model: { name: model, width }, dataset: 'cifar10', dataDir: 'memory', batchSize: batch },
      ...(precision && { precision }),
      ...{ engine, backend, devices, amplification, schedule: [[1, LEARNING_RATE, false, 1]] },
    },
    'options',
    { set },
  );
  const choice = chooseEngine(config);
  checkSizes(config, choice.engine, { train: { size: config.batchSize } }, graphOf(config));
  return { ...config, engine: choice.engine };
}

export function graphOf(config: Config): Graph {
  return buildModel({ ...config.model, classes: CLASSES });
}

/** Threads with which one worker computes. */
export const threadsOf = (config: Config): number =>
  config.engine === 'torch' ? threadsPerWorker(config) : 1;

export function measuredOf(config: Config): Measured {
  const { model, batchSize, devices, precision } = config;
  return {
    ...{
      model: model.name,
      width: model.width,
      parameters: graphOf(config).parameterCount,
      batch: batchSize,
    },
    ...{ precision, workers: devices.length, devices, threads: threadsOf(config) },
  };
}
