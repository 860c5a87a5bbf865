// An epoch and an analysis of a made-up run.

import type { Selection } from '../../src/amplification/selection.ts';
import type { EpochMetrics } from '../../src/training/metrics.ts';

export const metrics: EpochMetrics = {
  epoch: 6,
  phase: 2,
  learningRate: 0.1,
  analysed: false,
  amplified: ['conv1', 'linear'],
  reduced: ['conv2'],
  skippedSteps: 2,
  trainLoss: 1.25,
  trainAccuracy: 0.5,
  validationLoss: 1.375,
  validationAccuracy: 0.4375,
  testLoss: 1.5,
  testAccuracy: 0.375,
};

const layer = { kind: 'conv2d', size: 432, standardError: 0.01 };

export const selection: Selection = {
  epoch: 5,
  measure: 'G',
  case: 1,
  threshold: 1,
  selection: 'threshold',
  score: 'value',
  deviation: 'population',
  pooling: 'layer',
  response: 'amplify',
  iterations: 20,
  noiseFloor: 0.22,
  layers: [
    { ...layer, name: 'conv1', G: 0.5, Gprime: 0.625, z: 1.25, chosen: true, factor: 2 },
    { ...layer, name: 'conv2', G: 0.25, Gprime: 0.375, z: -0.25, chosen: false, factor: 1 },
    { ...layer, name: 'linear', kind: 'linear', G: 0.125, Gprime: 0.25, z: -1, chosen: false, factor: 1 },
  ],
};
