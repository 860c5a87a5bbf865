// Writes gradients for gradient-check.ts: ours, or that of tfjs' stock kernels. Called with the side, a config and a
// GradientSetup. A process of its own, so that one side's kernels are not registered in the other's tfjs.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, Precision } from '../src/config/schema.ts';
import type { Batch } from '../src/data/dataset.ts';
import { createEngine } from '../src/engines/index.ts';
import { initialStatistics } from '../src/models/initialise.ts';
import type { GradientSetup } from './gradient-check.ts';
import { graphOf } from './measured.ts';
import { loadPlainWasm, plainGradient } from './plain-replica.ts';
import { normalisation } from './synthetic-data.ts';

/** Ours has no float64. */
type OwnSetup = GradientSetup & { readonly precisions: readonly Precision[] };

const [side, config, setup] = process.argv.slice(2).map((text) => JSON.parse(text)) as [
  'gradamp' | 'stock',
  Config,
  OwnSetup,
];
const graph = graphOf({ ...config, model: { ...config.model, width: setup.width } });
const read = (name: string) => Uint8Array.from(readFileSync(join(setup.folder, name)));
const [images, labels] = [read('images.u8'), read('labels.u8')];
const split = { name: 'train', size: setup.batch, images, labels } as const;
const batch: Batch = { split, indices: Uint32Array.from(labels.keys()) };
const parameters = new Float32Array(read('weights.f32').buffer);

for (const precision of setup.precisions) {
  const gradient = new Float32Array(graph.parameterLength);
  if (side === 'stock') {
    await loadPlainWasm();
    plainGradient(graph, parameters, gradient, batch);
  } else {
    const [device] = config.devices;
    const engine = await createEngine({ ...config, precision, device, threads: 1 });
    const statistics = initialStatistics(graph);
    const replica = engine.createReplica({ graph, normalisation, parameters, gradient, statistics });
    replica.gradient([batch], setup.batch);
    replica.dispose();
  }
  writeFileSync(join(setup.output, `gradient-${precision}.f32`), gradient);
}
process.exit();
