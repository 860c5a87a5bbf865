// Times matrix products of a tfjs backend, for peak.ts. Called with a backend and a device.

import * as tf from '@tensorflow/tfjs-core';
import { type BackendName, loadBackend } from '../src/engines/tfjs/backend.ts';
import type { PeakAnswer, PeakIntroduction } from './peak.ts';
import { serve } from './subject.ts';

const { backend, device } = JSON.parse(process.argv[2]) as { backend: BackendName; device: string };
/** Rows and columns: enough for each backend to be at its best, and for no longer than that takes. */
const size = backend === 'cpu' ? 128 : backend === 'wasm' ? 512 : 2048;
const REPETITIONS = 2;

let matrices: tf.Tensor2D[] = [];

function multiply(): void {
  tf.tidy(() => {
    for (let i = 0; i < REPETITIONS; i++) {
      // A backend may compute only when somebody reads.
      const product = tf.matMul(matrices[0], matrices[1]);
      tf.slice(product, 0, 1).dataSync();
    }
  });
}

await serve(
  async (): Promise<PeakIntroduction> => {
    const { description } = await loadBackend(backend, device);
    matrices = [0.5, 0.25].map((value) => tf.fill([size, size], value));
    multiply();
    return {
      description: `float32 matMul of ${size}x${size}, ${description}`,
      flops: 2 * size ** 3 * REPETITIONS,
    };
  },
  (_: 'product'): PeakAnswer => {
    const started = performance.now();
    multiply();
    return { milliseconds: performance.now() - started };
  },
);
