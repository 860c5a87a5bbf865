// What becomes of the layers that an analysis chose, by a plain loop over the run's own files: the weights before, the
// recorded gradients and the logged factors give the weights after.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Selection } from '../../src/amplification/selection.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import type { EpochMetrics } from '../../src/training/metrics.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import type { RunVectors } from '../../src/training/run-state.ts';
import { testConfig } from '../parallel/fixtures.ts';

/** Epoch 2 is the analysis, its choice acts in epoch 3; four steps an epoch. */
const STEPS_PER_EPOCH = 4;
const LEARNING_RATE = 0.05;
const MOMENTUM = 0.9;
const WEIGHT_DECAY = 0.01;

const folder = mkdtempSync(join(tmpdir(), 'gradamp-response-'));
const dataDir = join(folder, 'data');
afterAll(() => rmSync(folder, { recursive: true }));

const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };

async function run(name: string, epochs: number, amplification: Record<string, unknown>) {
  const config = testConfig({
    dataDir,
    batchSize: 20,
    microBatch: 5,
    devices: ['cpu', 'cpu'],
    ...{ momentum: MOMENTUM, weightDecay: WEIGHT_DECAY },
    schedule: [
      [1, LEARNING_RATE, false, 1],
      [epochs, LEARNING_RATE, true, 3],
    ],
    amplification,
    // Of epoch 3, where there is one.
    ...(epochs > 2 && { dumpGradients: [2 * STEPS_PER_EPOCH + 1, 3 * STEPS_PER_EPOCH] }),
  });
  const directory = join(folder, name);
  const { selections } = await train(config, { directory, reporter: silent });
  const lines = (file: string) =>
    readFileSync(join(directory, file), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  const checkpoint = (await readCheckpoint(join(directory, 'checkpoint.msgpack'))).vectors;
  return { directory, lines, checkpoint, selections };
}

type Run = Awaited<ReturnType<typeof run>>;

/** The run until the choice; what becomes of it plays no part yet. */
let before: RunVectors;
beforeAll(async () => {
  await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, train: 70, test: 10 });
  before = (await run('before', 2, {})).checkpoint;
});

/** The layers' tensors in the flat vector. */
function tensorsOf({ lines, directory }: Run) {
  const { tensors } = JSON.parse(readFileSync(join(directory, 'gradients/layout.json'), 'utf8')) as {
    tensors: { name: string; offset: number; size: number }[];
  };
  const [{ layers }] = lines('selections.jsonl') as Selection[];
  return tensors.map(({ name, offset, size }) => {
    const layer = layers.find((layer) => layer.name === name.replace(/\.(weight|bias)$/, ''));
    if (!layer) throw new Error(`${name} belongs to no candidate`);
    return { name, offset, size, factor: layer.factor };
  });
}

/** Epoch 3 by a plain loop; the factors multiply the gradients or the learning rate. */
function epochThree(run: Run, onGradient: boolean, factorOf = (factor: number) => factor): Float64Array {
  const weights = Float64Array.from(before.weights);
  const velocity = Float64Array.from(before.velocity);
  for (let step = 1; step <= STEPS_PER_EPOCH; step++) {
    const file = `step-${String(2 * STEPS_PER_EPOCH + step).padStart(6, '0')}.f32`;
    const bytes = readFileSync(join(run.directory, 'gradients', file));
    const gradient = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (const { offset, size, factor } of tensorsOf(run)) {
      const [g, r] = onGradient ? [factorOf(factor), 1] : [1, factorOf(factor)];
      for (let i = offset; i < offset + size; i++) {
        velocity[i] = MOMENTUM * velocity[i] + g * gradient[i] + WEIGHT_DECAY * weights[i];
        weights[i] -= LEARNING_RATE * r * velocity[i];
      }
    }
  }
  return weights;
}

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

describe('frozen layers', () => {
  let frozen: Run;
  beforeAll(async () => {
    const amplification = {
      response: 'freeze',
      apply: 'learning-rate',
      selection: 'inverted',
      threshold: 0.5,
    };
    frozen = await run('frozen', 3, amplification);
  });

  it('do not move by a bit in the epoch behind the choice, while all others do', () => {
    const tensors = tensorsOf(frozen);
    expect(tensors.some(({ factor }) => factor === 0)).toBe(true);
    expect(tensors.some(({ factor }) => factor === 1)).toBe(true);
    for (const { name, offset, size, factor } of tensors) {
      const [earlier, later] = [before, frozen.checkpoint].map(({ weights }) =>
        weights.subarray(offset, offset + size),
      );
      if (factor === 0) expect(later, name).toEqual(earlier);
      else expect(distance(later, earlier), name).toBeGreaterThan(1e-4);
    }
  });

  it('keep a momentum that follows the gradients', () => {
    for (const { name, offset, size } of tensorsOf(frozen).filter(({ factor }) => factor === 0)) {
      const [earlier, later] = [before, frozen.checkpoint].map(({ velocity }) =>
        velocity.subarray(offset, offset + size),
      );
      expect(distance(later, earlier), name).toBeGreaterThan(1e-4);
    }
    expect(distance(frozen.checkpoint.weights, epochThree(frozen, false))).toBeLessThan(1e-6);
  });

  it('are told: their factor is 0, and the epoch’s metrics name them', () => {
    const [selection] = frozen.lines('selections.jsonl') as Selection[];
    expect(selection.response).toBe('freeze');
    const chosen = selection.layers.filter((layer) => layer.chosen).map(({ name }) => name);
    expect(selection.layers.map(({ chosen, factor }) => chosen === (factor === 0))).not.toContain(false);
    const metrics = frozen.lines('metrics.jsonl') as EpochMetrics[];
    expect(metrics.map(({ reduced }) => reduced)).toEqual([[], [], chosen]);
    expect(metrics.map(({ amplified }) => amplified)).toEqual([[], [], []]);
  });
});

describe('continuous factors', () => {
  let scaled: Run;
  beforeAll(async () => {
    scaled = await run('scaled', 3, { response: 'continuous', selection: 'all', threshold: 1 });
  });

  it('are applied to every layer’s gradient as they are logged', () => {
    const { weights } = scaled.checkpoint;
    expect(distance(weights, epochThree(scaled, true))).toBeLessThan(1e-6);
    expect(
      distance(
        weights,
        epochThree(scaled, true, () => 1),
      ),
    ).toBeGreaterThan(1e-3);
  });

  it('are 3 ** z between 1/3 and 3, and the epoch’s metrics name the layers above and below 1', () => {
    const [{ layers }] = scaled.lines('selections.jsonl') as Selection[];
    for (const { name, z, factor } of layers) {
      expect(factor, name).toBeCloseTo(Math.min(3, Math.max(1 / 3, 3 ** z)), 9);
    }
    const names = (holds: (factor: number) => boolean) =>
      layers.filter(({ factor }) => holds(factor)).map(({ name }) => name);
    const [, , third] = scaled.lines('metrics.jsonl') as EpochMetrics[];
    expect(third.amplified).toEqual(names((factor) => factor > 1));
    expect(third.reduced).toEqual(names((factor) => factor < 1));
    expect(Math.min(third.amplified.length, third.reduced.length)).toBeGreaterThan(2);
  });
});
