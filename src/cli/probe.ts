// A process of its own for `gradamp doctor`: loads one engine and takes a gradient with it, so that what crashes
// here crashes nobody else. Called with an engine and a backend; its last line of output is a ProbeAnswer.

import { type Batch, IMAGE_BYTES } from '../data/dataset.ts';
import type { Engine } from '../engines/engine.ts';
import { createEngine } from '../engines/index.ts';
import { inspectNative } from '../engines/torch/load.ts';
import { buildModel } from '../models/index.ts';
import { initialParameters, initialStatistics } from '../models/initialise.ts';
import type { EngineAndBackend, ProbeAnswer } from './engines.ts';

/** Enough to run every kind of operation once. */
const MODEL = { name: 'resnet8', width: 0.25, classes: 10 } as const;
const IMAGES = 4;

async function probe(wanted: EngineAndBackend): Promise<ProbeAnswer> {
  try {
    const engine = await createEngine({ ...wanted, device: 'cpu' });
    takeGradient(engine);
    return { loads: true, description: describeEngine(engine) };
  } catch (error) {
    return { loads: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** Of torch also which libtorch it is: there may be several. */
function describeEngine({ name, description }: Engine): string {
  const { info } = name === 'torch' ? inspectNative() : {};
  return info
    ? `${description}; ${info.libtorch.library}, ${info.cuda ? 'with' : 'without'} CUDA`
    : description;
}

function takeGradient(engine: Engine): void {
  const graph = buildModel(MODEL);
  const gradient = new Float32Array(graph.parameterLength);
  const replica = engine.createReplica({
    graph,
    normalisation: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
    parameters: initialParameters(graph, 0),
    gradient,
    statistics: initialStatistics(graph),
  });
  const images = Uint8Array.from({ length: IMAGES * IMAGE_BYTES }, (_, byte) => (byte * 37) % 256);
  const labels = Uint8Array.from({ length: IMAGES }, (_, image) => image);
  const indices = Uint32Array.from(labels);
  const batch: Batch = { split: { name: 'train', size: IMAGES, images, labels }, indices };
  replica.gradient([batch], IMAGES);
  if (!gradient.every(Number.isFinite) || !gradient.some((value) => value !== 0)) {
    throw new Error('it loads, but a gradient that it computed is not finite or all 0');
  }
}

const [engine, backend] = process.argv.slice(2);
const answer = await probe({ engine, backend } as EngineAndBackend);
process.stdout.write(`\n${JSON.stringify(answer)}\n`, () => process.exit(0));
