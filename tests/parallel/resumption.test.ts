// What a run may go on from: see also tests/training/run-resumption.test.ts, where whole runs do.

import { expect, test } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { buildModel } from '../../src/models/index.ts';
import { resumeFrom } from '../../src/parallel/resumption.ts';
import { NO_PROGRESS } from '../../src/training/run-state.ts';
import { metrics } from '../training/fixtures.ts';
import { testConfig } from './fixtures.ts';

const config = testConfig({ schedule: [[2, 0.1, true, 2]] });
const graph = buildModel({ ...config.model, classes: 10 });
const trainedOn = { normalisation: { mean: [0, 0, 0], std: [1, 1, 1] }, labels: 'ab' };
const vectors = {
  weights: new Float32Array(graph.parameterLength),
  velocity: new Float32Array(graph.parameterLength),
  statistics: [new Float32Array(graph.statisticsLength)],
};

function resumed(epochs: number) {
  const history = Array.from({ length: epochs }, (_, index) => ({ ...metrics, epoch: index + 1 }));
  const state = { progress: { ...NO_PROGRESS, history }, vectors };
  return resumeFrom({ source: 'a file', config, state }, config, { graph, trainedOn });
}

test('a state of a complete run is one to go on from', () => {
  expect(resumed(2).entry).toMatchObject({ epoch: 2, step: 0, changes: [] });
});

test('one of more epochs than its own schedule has is refused', () => {
  expect(() => resumed(3)).toThrow(
    new UsageError('a file: expected at most the 2 epochs of its schedule, got 3'),
  );
});
