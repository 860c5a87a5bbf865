// Gradients of small convolutions on torch, as base64 of float32: for baseline.test.ts, which runs this in processes with
// other vector instructions. Wants the compiled program.

import { createEngine } from '../../../dist/src/engines/index.js';
import { GraphBuilder } from '../../../dist/src/models/graph.js';
import { initialParameters } from '../../../dist/src/models/initialise.js';

const SAMPLES = [3, 7, 11];
const engine = await createEngine({ engine: 'torch', backend: 'wasm', device: 'cpu', threads: 1 });
const answer = { description: engine.description, gradients: {} };
for (const channels of [8, 24, 40]) {
  for (const size of [2, 8]) {
    const g = new GraphBuilder('test');
    const pooled = g.averagePool(g.input([32, 32, 3]), { kernel: 32 / size });
    const x = g.conv2d('first', pooled, { filters: channels, kernel: 3, padding: 1 });
    const y = g.conv2d('second', x, { filters: channels, kernel: 3, padding: 1 });
    const graph = g.build(g.linear('linear', g.flatten(g.averagePool(y, { kernel: size })), { features: 5 }));
    for (const samples of SAMPLES) {
      const images = Uint8Array.from({ length: samples * 3072 }, (_, i) => (i * 7919) % 251);
      const labels = Uint8Array.from({ length: samples }, (_, i) => i % 5);
      const split = { name: 'train', size: samples, images, labels };
      const gradient = new Float32Array(graph.parameterLength);
      const replica = engine.createReplica({
        graph,
        normalisation: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
        parameters: initialParameters(graph, 1),
        gradient,
        statistics: new Float32Array(graph.statisticsLength),
      });
      replica.gradient([{ split, indices: Uint32Array.from(labels.keys()) }], samples);
      replica.dispose();
      answer.gradients[`${channels} channels, ${size}x${size}, ${samples} samples`] = Buffer.from(
        gradient.buffer,
      ).toString('base64');
    }
  }
}
process.stdout.write(JSON.stringify(answer));
