// What a run needs of data and memory, known before it starts: what cannot be trained is refused here.

import { totalmem } from 'node:os';
import { lastEpoch } from '../amplification/phases.ts';
import type { Config } from '../config/schema.ts';
import { checkValidation } from '../data/partition.ts';
import { largestPass, stepCount } from '../data/sampling.ts';
import type { Engine } from '../engines/engine.ts';
import { engineMemoryLimit } from '../engines/index.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { estimateEvaluationBytes, estimatePassBytes } from '../models/summary.ts';
import { storeBytes } from './store.ts';

/** Of a data set, what says how long an epoch is. */
export interface TrainingSize {
  readonly train: { readonly size: number };
}

/** Images of an epoch: the training split without those held out for validation. */
export function trainedImages({ validation }: Config, { train }: TrainingSize): number {
  return train.size - validation;
}

/** @throws UsageError, one line with the key and the remedy. */
export function checkSizes(
  config: Config,
  engine: Engine['name'],
  { train }: TrainingSize,
  graph: Graph,
): void {
  const { batchSize, accumulate, devices, dataDir, dumpGradients } = config;
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
    workers: devices.length,
    sharedBytes: storeBytes(graph, config),
    passBytes: estimatePassBytes,
    remedy: 'use fewer devices, a smaller microBatch or a smaller width',
  });
}

/** The same for one replica that evaluates, in the passes of the config's workers. */
export function checkEvaluationSize(config: Config, engine: Engine['name'], graph: Graph): void {
  checkMemory(config, engine, graph, {
    workers: 1,
    // A replica has a gradient vector beside its weights.
    sharedBytes: 4 * (2 * graph.parameterLength + graph.statisticsLength),
    passBytes: estimateEvaluationBytes,
    remedy: 'evaluate it on a machine with more',
  });
}

interface MemoryNeeds {
  readonly workers: number;
  readonly sharedBytes: number;
  /** Of one worker for a pass of so many samples. */
  readonly passBytes: (graph: Graph, samples: number) => number;
  /** Where the machine has too little. */
  readonly remedy: string;
}

function checkMemory(config: Config, engine: Engine['name'], graph: Graph, needs: MemoryNeeds): void {
  const { batchSize, devices, microBatch, backend } = config;
  const { workers, sharedBytes, passBytes, remedy } = needs;
  const samples = largestPass({ batch: batchSize, worldSize: devices.length, microBatch });
  const needed = passBytes(graph, samples);
  const limit = engineMemoryLimit({ engine, backend });
  if (limit !== undefined && needed > limit) {
    const fits = (size: number) => passBytes(graph, size) <= limit;
    throw new UsageError(
      `model ${graph.name}: expected passes of ${samples} images to fit the ${gibibytes(limit)} of backend ${backend}, ` +
        `but they need about ${gibibytes(needed)}; ${smallerPass(samples, fits)}`,
    );
  }
  const total = sharedBytes + workers * needed;
  if (total > totalmem()) {
    throw new UsageError(
      `model ${graph.name}: expected ${workers === 1 ? 'a worker' : `${workers} workers`} to fit the ${gibibytes(totalmem())} of this machine, ` +
        `but ${workers === 1 ? 'it needs' : 'they need'} about ${gibibytes(total)}; ${remedy}`,
    );
  }
}

function smallerPass(samples: number, fits: (samples: number) => boolean): string {
  let fitting = samples;
  while (fitting > 0 && !fits(fitting)) fitting = Math.floor(fitting / 2);
  return fitting > 0 ? `set microBatch: ${fitting}` : 'use a smaller width';
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
