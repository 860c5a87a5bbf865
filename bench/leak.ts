// `gradamp bench leak`: what tfjs, the wasm heap and the process hold over many steps.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEngine } from '../src/engines/index.ts';
import { wasmHeapBytes } from '../src/engines/tfjs/backend.ts';
import { buildModel } from '../src/models/index.ts';
import { initialParameters, initialStatistics } from '../src/models/initialise.ts';
import { noiseBatch, normalisation } from './synthetic-data.ts';

export interface LeakOptions {
  readonly steps: number;
}

export interface LeakSample {
  readonly step: number;
  readonly tensors: number;
  readonly tensorBytes: number;
  readonly heapBytes: number;
  /** Resident set of the process. */
  readonly residentBytes: number;
}

export interface LeakResult extends LeakOptions {
  readonly model: string;
  readonly batch: number;
  readonly description: string;
  readonly samples: readonly LeakSample[];
  readonly flat: boolean;
}

const WARM_UP_STEPS = 200;
const MODEL = { name: 'resnet8', width: 0.25, classes: 10 } as const;
const BATCH = 8;
/** What the garbage collector keeps of what it has freed varies. */
const RESIDENT_TOLERANCE = 1.05;

/** V8's garbage collector, run before each sample, so that its habits are not taken for a leak. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}

/** Steps of a small model, with an evaluation after each hundred. @param report called with each sample. */
export async function benchLeak(
  { steps }: LeakOptions,
  report: (sample: LeakSample) => void,
): Promise<LeakResult> {
  const engine = await createEngine({ engine: 'tfjs', backend: 'wasm', device: 'cpu' });
  const graph = buildModel(MODEL);
  const replica = engine.createReplica({
    graph,
    normalisation,
    parameters: initialParameters(graph, 0),
    gradient: new Float32Array(graph.parameterLength),
    statistics: initialStatistics(graph),
  });
  const batch = noiseBatch(BATCH);
  const collectGarbage = garbageCollector();
  const samples: LeakSample[] = [];
  for (let step = 1; step <= WARM_UP_STEPS + steps; step++) {
    replica.gradient([batch], BATCH);
    if (step % 100 !== 0) continue;
    replica.evaluate(batch);
    const { tensors, bytes } = replica.memory();
    collectGarbage();
    const residentBytes = process.memoryUsage.rss();
    const sample = { step, tensors, tensorBytes: bytes, heapBytes: wasmHeapBytes(), residentBytes };
    if (step >= WARM_UP_STEPS) samples.push(sample);
    report(sample);
  }
  const model = `${MODEL.name}, width ${MODEL.width}`;
  return {
    model,
    batch: BATCH,
    steps,
    description: engine.description,
    samples,
    flat: isFlat(samples),
  };
}

/** Nothing grew; the resident set by no more than the tolerance. */
function isFlat(samples: readonly LeakSample[]): boolean {
  const [first] = samples;
  return samples.every(
    ({ tensors, tensorBytes, heapBytes, residentBytes }) =>
      tensors === first.tensors &&
      tensorBytes === first.tensorBytes &&
      heapBytes === first.heapBytes &&
      residentBytes <= first.residentBytes * RESIDENT_TOLERANCE,
  );
}
