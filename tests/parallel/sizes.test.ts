// What is refused before a replica is made: batches that the data do not fill, passes that do not fit.

import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { buildModel } from '../../src/models/index.ts';
import { estimateEvaluationBytes, estimatePassBytes } from '../../src/models/summary.ts';
import { checkEvaluationSize, checkSizes } from '../../src/parallel/sizes.ts';
import { testConfig } from './fixtures.ts';

const size = { train: { size: 50_000 } };
const setUp = (changes: Record<string, unknown>) => {
  const config = testConfig({ model: 'resnet18', batchSize: 128, ...changes });
  return { config, graph: buildModel({ ...config.model, classes: 10 }) };
};

test('an evaluation pass of a ResNet-18 needs what its widest layers hold, not what training keeps for the way back', () => {
  const { graph } = setUp({});
  // A block of 64 x 32 x 32 floats an image; a convolution has input, output and twice that in scratch, and the
  // shortcut is kept: five of them, and 1.2 times that is taken. 512 images more, so that constants cancel.
  const images = 512;
  const block = 4 * 64 * 32 * 32;
  const growth = estimateEvaluationBytes(graph, 1 + images) - estimateEvaluationBytes(graph, 1);
  expect(growth / images / block).toBeCloseTo(1.2 * 5, 6);
  expect(estimatePassBytes(graph, images)).toBeGreaterThan(3 * estimateEvaluationBytes(graph, images));
});

test('a pass too large for training may be evaluated, and a larger one may not', () => {
  const { config, graph } = setUp({ batchSize: 800, amplification: 'none' });
  expect(() => checkSizes(config, 'tfjs', size, graph)).toThrow(
    /^model resnet18: expected passes of 800 images to fit the 4\.0 GiB of backend wasm, .* set microBatch: \d+$/,
  );
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).not.toThrow();
  const larger = setUp({ batchSize: 8000 });
  expect(() => checkEvaluationSize(larger.config, 'tfjs', larger.graph)).toThrow(
    /^model resnet18: expected passes of 8000 images to fit the 4\.0 GiB of backend wasm, but they need about 11\.\d GiB; set microBatch: 2000$/,
  );
});

test('the engine torch has no limit beside the machine', () => {
  const { config, graph } = setUp({ batchSize: 8000 });
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).toThrow(/backend wasm/);
  // 11 GiB, which a small machine has not.
  const complaint = (() => {
    try {
      checkEvaluationSize(config, 'torch', graph);
      return '';
    } catch (error) {
      return String(error);
    }
  })();
  expect(complaint).not.toContain('backend');
});

test('more batches for a step than an epoch has, and steps to record that the run has not, are told', () => {
  const check = (changes: Record<string, unknown>) => () => {
    const { config, graph } = setUp({ model: 'resnet8', validation: 10_000, ...changes });
    checkSizes(config, 'tfjs', size, graph);
  };
  expect(check({ accumulate: 312, dumpGradients: [2, 9] })).not.toThrow();
  expect(check({ accumulate: 313 })).toThrow(
    /^accumulate: expected at most the 312 batches of 128 in 40000 training images, got 313; accumulate fewer or use a smaller batch$/,
  );
  // 40,000 images are 313 steps of 128.
  expect(check({ dumpGradients: [313, 999] })).not.toThrow();
  expect(check({ dumpGradients: [314, 999] })).toThrow(
    /^dumpGradients: expected a first step among the 313 of the run, got 314; name earlier steps$/,
  );
});

test('a machine with too little memory is told', () => {
  // Backend cpu has no limit of its own.
  const images = Math.ceil(totalmem() / (4 * 64 * 32 * 32));
  const { config, graph } = setUp({ batchSize: images, backend: 'cpu' });
  expect(() => checkEvaluationSize(config, 'tfjs', graph)).toThrow(
    /^model resnet18: expected a worker to fit the .* GiB of this machine, but it needs about .* GiB; evaluate it on a machine with more$/,
  );
  expect(() => checkSizes(config, 'tfjs', { train: { size: images } }, graph)).toThrow(
    /expected a worker to fit .*; use fewer devices, a smaller microBatch or a smaller width$/,
  );
});
