// tfjs with its stock kernels, as a process that is measured: gradient and update on one thread. Called with a config.

import type { Config } from '../src/config/schema.ts';
import { initialParameters } from '../src/models/initialise.ts';
import { segmentsOf, update } from '../src/training/update.ts';
import { graphOf } from './measured.ts';
import { loadPlainWasm, plainGradient } from './plain-replica.ts';
import { serve } from './subject.ts';
import { noiseBatch } from './synthetic-data.ts';
import type { TrainingAnswer } from './training.ts';

const config = JSON.parse(process.argv[2]) as Config;
const graph = graphOf(config);
const weights = initialParameters(graph, 0);
const [gradient, velocity] = [new Float32Array(weights.length), new Float32Array(weights.length)];
const batch = noiseBatch(config.batchSize);
const segments = segmentsOf(graph, [0, weights.length], new Map(), 'gradient');
const { momentum, weightDecay, nesterov, schedule } = config;
const options = {
  ...{ learningRate: schedule[0].learningRate, momentum, weightDecay, nesterov },
  ...{ clipScale: 1, measureWeightDecay: false },
};

await serve(
  async () => {
    await loadPlainWasm();
    return { parameters: graph.parameterCount };
  },
  ({ steps }: { steps: number }): TrainingAnswer => {
    const started = performance.now();
    for (let step = 0; step < steps; step++) {
      plainGradient(graph, weights, gradient, batch);
      update({ weights, velocity, gradients: [gradient] }, segments, options);
    }
    const milliseconds = performance.now() - started;
    return {
      ...{ milliseconds, choiceMilliseconds: 0, peakBytes: process.resourceUsage().maxRSS * 1024 },
      ...{ devicePeakBytes: null, hostMilliseconds: null },
    };
  },
);
