// A process of its own for `bench step`, so that one variant's kernels are not registered in the other's tfjs. It
// answers one request at a time.

import { createEngine } from '../src/engines/index.ts';
import { wasmHeapBytes } from '../src/engines/tfjs/backend.ts';
import { buildModel } from '../src/models/index.ts';
import { initialParameters, initialStatistics } from '../src/models/initialise.ts';
import { loadPlainWasm, plainGradient } from './plain-replica.ts';
import { type Answer, CHECKED_BATCH, CHECKED_WIDTH, type Request, type StepSetup } from './step.ts';
import { normalisation, syntheticBatch } from './synthetic-batch.ts';

const setup = JSON.parse(process.argv[2]) as StepSetup;
const engine =
  setup.variant === 'plain'
    ? await loadPlainWasm()
    : await createEngine({ engine: 'tfjs', backend: setup.backend, device: 'cpu' });

/** The gradient of one batch, again and again. */
function createStep(width: number, batchSize: number): { run: () => void; gradient: Float32Array } {
  const graph = buildModel({ name: setup.model, width, classes: 10 });
  const parameters = initialParameters(graph, 0);
  const gradient = new Float32Array(graph.parameterLength);
  const batch = syntheticBatch(batchSize, graph.classes);
  if (!engine) return { run: () => plainGradient(graph, parameters, gradient, batch), gradient };
  const statistics = initialStatistics(graph);
  const replica = engine.createReplica({ graph, normalisation, parameters, gradient, statistics });
  return { run: () => void replica.gradient([batch], batchSize), gradient };
}

const steps = {
  step: createStep(setup.width, setup.batch),
  gradient: createStep(Math.min(setup.width, CHECKED_WIDTH), CHECKED_BATCH),
};

function answer(request: Request): Answer {
  const start = performance.now();
  try {
    steps[request].run();
  } catch (error) {
    return { kind: 'error', message: error instanceof Error ? error.message : String(error) };
  }
  const milliseconds = performance.now() - start;
  if (request === 'gradient') return { kind: 'gradient', gradient: steps.gradient.gradient };
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  return { kind: 'step', milliseconds, peakBytes, heapBytes: wasmHeapBytes() };
}

process.on('message', (request: Request) => process.send!(answer(request)));
