// `gradamp bench leak`: what an engine and its process hold over many training steps: gradient, update, and after every
// hundredth step an evaluation.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEngine } from '../src/engines/index.ts';
import { wasmHeapBytes } from '../src/engines/tfjs/backend.ts';
import { initialParameters, initialStatistics } from '../src/models/initialise.ts';
import { updaterOf } from '../src/training/kernel-update.ts';
import { segmentsOf } from '../src/training/update.ts';
import { graphOf, type MeasuredOptions, measuredConfig } from './measured.ts';
import { noiseBatch, normalisation } from './synthetic-data.ts';

export interface LeakOptions
  extends Pick<MeasuredOptions, 'model' | 'width' | 'batch' | 'engine' | 'backend' | 'set'> {
  readonly steps: number;
}

export interface LeakSample {
  /** Since the warm-up. */
  readonly step: number;
  readonly tensors: number;
  readonly tensorBytes: number;
  /** 0 where the engine has no wasm heap. */
  readonly heapBytes: number;
  /** Resident set of the process. */
  readonly residentBytes: number;
}

export interface LeakResult extends Pick<LeakOptions, 'model' | 'width' | 'batch' | 'steps'> {
  readonly engine: string;
  /** One before the first step and one after every hundredth. */
  readonly samples: readonly LeakSample[];
  readonly residentBytesPerStep: number;
  readonly flat: boolean;
}

const WARM_UP_STEPS = 200;
const SAMPLED = 100;
/** What the garbage collector keeps of what it has freed varies. */
const RESIDENT_TOLERANCE = 1.05;

/** V8's garbage collector, run before each sample, so that its habits are not taken for a leak. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}

/** On this thread, alone. @param report called with each sample. */
export async function benchLeak(
  options: LeakOptions,
  report: (sample: LeakSample) => void,
): Promise<LeakResult> {
  const config = measuredConfig({ ...options, workers: 1, device: 'cpu' });
  const { batchSize, momentum, weightDecay, nesterov } = config;
  const engine = await createEngine({ ...config, device: 'cpu' });
  const graph = graphOf(config);
  const weights = initialParameters(graph, config.seed);
  const [gradient, velocity] = [new Float32Array(weights.length), new Float32Array(weights.length)];
  const replica = engine.createReplica({
    ...{ graph, normalisation, parameters: weights, gradient, statistics: initialStatistics(graph) },
  });
  const batch = noiseBatch(batchSize);
  const updater = updaterOf(engine);
  const segments = segmentsOf(graph, [0, weights.length], new Map(), 'gradient');
  const [{ learningRate }] = config.schedule;
  const update = { learningRate, momentum, weightDecay, nesterov, clipScale: 1, measureWeightDecay: false };
  const collectGarbage = garbageCollector();
  const samples: LeakSample[] = [];
  for (let step = -WARM_UP_STEPS; step <= options.steps; step++) {
    replica.gradient([batch], batchSize);
    updater.update({ weights, velocity, gradients: [gradient] }, segments, update);
    if (step % SAMPLED !== 0) continue;
    replica.evaluate(batch);
    const { tensors, bytes: tensorBytes } = replica.memory();
    collectGarbage();
    const residentBytes = process.memoryUsage.rss();
    const sample = { step, tensors, tensorBytes, heapBytes: wasmHeapBytes(), residentBytes };
    if (step >= 0) samples.push(sample);
    report(sample);
  }
  const { model, width, batch: size, steps } = options;
  return {
    ...{ model, width, batch: size, steps, engine: engine.description, samples },
    residentBytesPerStep: slopeOf(samples),
    flat: isFlat(samples),
  };
}

/** Of the resident set, in bytes a step: that of the line with the least squares. */
export function slopeOf(samples: readonly Pick<LeakSample, 'step' | 'residentBytes'>[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const step = mean(samples.map((sample) => sample.step));
  const resident = mean(samples.map((sample) => sample.residentBytes));
  let [product, square] = [0, 0];
  for (const sample of samples) {
    product += (sample.step - step) * (sample.residentBytes - resident);
    square += (sample.step - step) ** 2;
  }
  return square === 0 ? 0 : product / square;
}

/** Nothing grew; the resident set by no more than the tolerance. */
export function isFlat(samples: readonly LeakSample[]): boolean {
  const [first] = samples;
  return samples.every(
    ({ tensors, tensorBytes, heapBytes, residentBytes }) =>
      tensors === first.tensors &&
      tensorBytes === first.tensorBytes &&
      heapBytes === first.heapBytes &&
      residentBytes <= first.residentBytes * RESIDENT_TOLERANCE,
  );
}
