// What a run needs of data and memory, known before it starts: what cannot be trained is refused here.

import { totalmem } from 'node:os';
import type { Config } from '../config/schema.ts';
import { checkValidation } from '../data/partition.ts';
import { largestPass } from '../data/sampling.ts';
import { type EngineChoice, engineMemoryLimit } from '../engines/index.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { estimatePassBytes } from '../models/summary.ts';
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
  engine: EngineChoice['engine'],
  { train }: TrainingSize,
  graph: Graph,
): void {
  const { batchSize, devices, microBatch, backend, dataDir } = config;
  if (train.size < batchSize) {
    throw new UsageError(
      `batchSize: expected at most the ${train.size} training images in ${dataDir}, got ${batchSize}; use a smaller batch`,
    );
  }
  checkValidation(config, { size: train.size, classes: graph.classes, dataDir });
  const samples = largestPass({ batch: batchSize, worldSize: devices.length, microBatch });
  const needed = estimatePassBytes(graph, samples);
  const limit = engineMemoryLimit({ engine, backend });
  if (limit !== undefined && needed > limit) {
    throw new UsageError(
      `model ${graph.name}: expected passes of ${samples} images to fit the ${gibibytes(limit)} of backend ${backend}, ` +
        `but they need about ${gibibytes(needed)}; ${smallerPass(graph, samples, limit)}`,
    );
  }
  const total = storeBytes(graph, config) + devices.length * needed;
  if (total > totalmem()) {
    throw new UsageError(
      `model ${graph.name}: expected ${devices.length} workers to fit the ${gibibytes(totalmem())} of this machine, ` +
        `but they need about ${gibibytes(total)}; use fewer devices, a smaller microBatch or a smaller width`,
    );
  }
}

function smallerPass(graph: Graph, samples: number, limit: number): string {
  let fitting = samples;
  while (fitting > 0 && estimatePassBytes(graph, fitting) > limit) fitting = Math.floor(fitting / 2);
  return fitting > 0 ? `set microBatch: ${fitting}` : 'use a smaller width';
}

const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
