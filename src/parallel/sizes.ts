// What a run needs of data and memory, known before it starts: what cannot be trained is refused here.

import { totalmem } from 'node:os';
import type { CudaDevice } from '#native-addon';
import { lastEpoch } from '../amplification/phases.ts';
import type { Config } from '../config/schema.ts';
import { checkValidation } from '../data/partition.ts';
import { largestPass, stepCount } from '../data/sampling.ts';
import type { Engine } from '../engines/engine.ts';
import { engineMemoryLimit } from '../engines/index.ts';
import { nativeDevices } from '../engines/torch/load.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { estimateEvaluationBytes, estimatePassBytes } from '../models/summary.ts';
import {
  checkDeviceMemory,
  type DeviceNeeds,
  gibibytes,
  smallerPass,
  trainingVectors,
} from './device-memory.ts';
import { snapshotBytes } from './snapshot.ts';
import { storeBytes } from './store.ts';

/** Of a data set, what says how long an epoch is. */
export interface TrainingSize {
  readonly train: { readonly size: number };
}

/** Images of an epoch: the training split without those held out for validation. */
export function trainedImages({ validation }: Config, { train }: TrainingSize): number {
  return train.size - validation;
}

/** Optimizer steps of an epoch. */
export function stepsPerEpoch(config: Config, dataset: TrainingSize): number {
  return stepCount(trainedImages(config, dataset), config.batchSize * config.accumulate);
}

/** Images of the first steps of an epoch. */
export function samplesOfSteps(config: Config, dataset: TrainingSize, steps: number): number {
  return Math.min(trainedImages(config, dataset), steps * config.batchSize * config.accumulate);
}

/**
 * Bytes of the copies that a run's checkpoints are written from, at most: the one that is being written, one of each
 * file that waits (checkpoint-writer.ts), and the next.
 */
export function checkpointBytes(graph: Graph, config: Config): number {
  const files = config.validation > 0 ? 2 : 1;
  return (files + 2) * snapshotBytes(graph, config);
}

interface SizeOptions {
  /** Whether checkpoints are written meanwhile. */
  readonly checkpoints?: boolean;
  /** Asks for those of the machine; not called for processors. */
  readonly gpus?: () => readonly CudaDevice[];
}

/** @throws UsageError, one line with the key and the remedy. */
export function checkSizes(
  config: Config,
  engine: Engine['name'],
  { train }: TrainingSize,
  graph: Graph,
  { checkpoints = false, gpus = nativeGpus }: SizeOptions = {},
): void {
  const { batchSize, accumulate, dataDir, dumpGradients } = config;
  if (train.size < batchSize) {
    throw new UsageError(
      `batchSize: expected at most the ${train.size} training images in ${dataDir}, got ${batchSize}; use a smaller batch`,
    );
  }
  checkValidation(config, { size: train.size, classes: graph.classes, dataDir });
  const images = trainedImages(config, { train });
  if (images < batchSize * accumulate) {
    throw new UsageError(
      `accumulate: expected at most the ${Math.floor(images / batchSize)} batches of ${batchSize} in ${images} training images, got ${accumulate}; accumulate fewer or use a smaller batch`,
    );
  }
  const steps = lastEpoch(config.schedule) * stepCount(images, batchSize * accumulate);
  if (dumpGradients && dumpGradients[0] > steps) {
    throw new UsageError(
      `dumpGradients: expected a first step among the ${steps} of the run, got ${dumpGradients[0]}; name earlier steps`,
    );
  }
  checkMemory(config, engine, graph, {
    ...trainingNeeds(config, train.size),
    sharedBytes: storeBytes(graph, config) + (checkpoints ? checkpointBytes(graph, config) : 0),
    gpus,
    remedy: `use fewer devices, a smaller ${config.syncBatchNorm ? 'batchSize' : 'microBatch'} or a smaller width`,
  });
}

/** Of a run's workers on GPUs. */
export const trainingNeeds = (config: Config, images: number): DeviceNeeds => ({
  devices: config.devices,
  precision: config.precision,
  syncBatchNorm: config.syncBatchNorm,
  images,
  vectors: trainingVectors(config),
  passBytes: estimatePassBytes,
});

/** The same for one replica that evaluates, in the passes of the config's workers. */
export function checkEvaluationSize(
  config: Config,
  engine: Engine['name'],
  graph: Graph,
  gpus = nativeGpus,
): void {
  checkMemory(config, engine, graph, {
    devices: config.devices.slice(0, 1),
    precision: config.precision,
    syncBatchNorm: false,
    // A replica has a gradient vector beside its weights.
    sharedBytes: 4 * (2 * graph.parameterLength + graph.statisticsLength),
    passBytes: estimateEvaluationBytes,
    images: 0,
    vectors: 2,
    gpus,
    remedy: 'evaluate it on a machine with more',
  });
}

interface MemoryNeeds extends DeviceNeeds {
  readonly gpus: () => readonly CudaDevice[];
  /** Of the machine, whatever the devices. */
  readonly sharedBytes: number;
  /** Where the machine has too little. */
  readonly remedy: string;
}

function checkMemory(config: Config, engine: Engine['name'], graph: Graph, needs: MemoryNeeds): void {
  const { batchSize, microBatch, backend } = config;
  const { devices, sharedBytes, passBytes, remedy } = needs;
  const samples = largestPass({ batch: batchSize, worldSize: config.devices.length, microBatch });
  const onGpus = engine === 'torch' && devices[0] !== 'cpu';
  if (onGpus) checkDeviceMemory(graph, samples, needs, needs.gpus());
  // What a GPU computes lies in its own memory.
  const needed = onGpus ? 0 : passBytes(graph, samples, 4);
  const limit = engineMemoryLimit({ engine, backend });
  if (limit !== undefined && needed > limit) {
    const fits = (size: number) => passBytes(graph, size, 4) <= limit;
    throw new UsageError(
      `model ${graph.name}: expected passes of ${samples} images to fit the ${gibibytes(limit)} of backend ${backend}, ` +
        `but they need about ${gibibytes(needed)}; ${smallerPass(samples, fits, needs)}`,
    );
  }
  const workers = devices.length;
  const total = sharedBytes + workers * needed;
  if (total > totalmem()) {
    throw new UsageError(
      `model ${graph.name}: expected ${workers === 1 ? 'a worker' : `${workers} workers`} to fit the ${gibibytes(totalmem())} of this machine, ` +
        `but ${workers === 1 ? 'it needs' : 'they need'} about ${gibibytes(total)}; ${remedy}`,
    );
  }
}

/** Those of the machine; chooseEngine has found that they can be asked for. */
function nativeGpus(): readonly CudaDevice[] {
  return nativeDevices().devices ?? [];
}
