// The learning-rate range test on the worker threads of training: orders one step at a time, each with a rate of its
// own, and reads the losses that the workers report. Writes nothing.

import type { Config } from '../config/schema.ts';
import { readCifar } from '../data/cifar.ts';
import { stepCount } from '../data/sampling.ts';
import { chooseEngine } from '../engines/index.ts';
import { buildModel } from '../models/index.ts';
import {
  type RangePoint,
  RangeTest,
  type RangeTestOptions,
  type RateSuggestions,
} from '../training/range-test.ts';
import { createControlBuffers } from './control.ts';
import { checkSizes, trainedImages } from './sizes.ts';
import { createStore } from './store.ts';
import type { EpochSums } from './trainer.ts';
import { WorkerGroup } from './worker-group.ts';

export interface FindOptions extends RangeTestOptions {
  /** Aborted by Ctrl-C: the test ends after the step it is in, with what it has. */
  readonly signal?: AbortSignal;
  readonly onStep?: (point: RangePoint) => void;
  /** One line, of what the test goes on in spite of. */
  readonly onWarning?: (warning: string) => void;
}

export interface RateFindings {
  readonly points: readonly RangePoint[];
  /** All steps were taken, the loss left its range before, or somebody stopped it. */
  readonly end: 'complete' | 'diverged' | 'stopped';
  /** Null where the loss did not fall. */
  readonly suggestions: RateSuggestions | null;
}

/**
 * Trains the config's model from its seed with growing rates, without amplification.
 * @throws UsageError for what cannot be trained; WorkerError.
 */
export async function findLearningRate(given: Config, options: FindOptions): Promise<RateFindings> {
  const { signal, onStep, onWarning } = options;
  // The orders say the rate, step by step.
  const config: Config = { ...given, amplification: 'none', learningRate: 'phases' };
  const { engine, warnings } = chooseEngine(config);
  const dataset = await readCifar(config.dataset, config.dataDir);
  const graph = buildModel({ ...config.model, classes: dataset.classes });
  checkSizes(config, engine, dataset, graph);
  const told = new Set<string>();
  const warn = (warning?: string) => {
    if (warning === undefined || told.has(warning)) return;
    told.add(warning);
    onWarning?.(warning);
  };
  for (const warning of warnings) warn(warning);

  const store = createStore(graph, config);
  const control = createControlBuffers(config.devices.length);
  const workers = new WorkerGroup(
    config.devices.map((_, rank) => ({
      rank,
      config: { ...config, engine },
      dataset,
      store,
      control,
    })),
  );
  const stop = () => workers.control.requestStop();
  signal?.addEventListener('abort', stop);
  try {
    await workers.all((worker) => worker.start());
    const test = new RangeTest(options);
    const stepsPerEpoch = stepCount(trainedImages(config, dataset), config.batchSize * config.accumulate);
    while (!test.complete && !test.diverged && !signal?.aborted) {
      const { learningRate, points } = test;
      const [epoch, step] = [Math.floor(points.length / stepsPerEpoch) + 1, points.length % stepsPerEpoch];
      const order = { epoch, learningRate, factors: new Map(), analysed: false };
      const parts = await workers.all((worker) => worker.train({ ...order, steps: [step, step + 1] }));
      for (const { warning } of parts) warn(warning);
      test.record(meanLoss(parts));
      if (!test.diverged) onStep?.(points[points.length - 1]);
    }
    const { points, complete, diverged, suggestions } = test;
    return { points, end: diverged ? 'diverged' : complete ? 'complete' : 'stopped', suggestions };
  } finally {
    signal?.removeEventListener('abort', stop);
    await workers.close();
  }
}

/** NaN where the step was skipped. */
function meanLoss(parts: readonly EpochSums[]): number {
  const sum = (key: 'lossSum' | 'samples') => parts.reduce((total, part) => total + part[key], 0);
  return sum('lossSum') / sum('samples');
}
