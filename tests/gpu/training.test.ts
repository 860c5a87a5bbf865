// Training that stays on a GPU, step by step, against training in shared memory on processors; CUDA graphs against the same
// steps without; and what must hold over many steps.

import { describe, expect, it } from 'vitest';
import { relativeDifference } from '../engines/fixtures.ts';
import { bits, device, trained } from './fixtures.ts';

const resnet = { model: { name: 'resnet8', width: 1 } };
const onGpu = { ...resnet, devices: [device] };
const onProcessors = { ...resnet, devices: ['cpu'], threads: 8 };
const chosen = new Map([
  ['layer1.0.conv1', 2],
  ['layer2.0.bn1', 2],
  ['linear', 2],
]);
const amplification = (changes: Record<string, unknown>) => ({ amplification: { ...changes } });

describe('one step', () => {
  it.each<[string, Record<string, unknown>]>([
    ['plain', {}],
    ['in passes of 8', { microBatch: 8 }],
    ['of two accumulated batches', { accumulate: 2, batchSize: 16 }],
    ['with Nesterov and smoothing', { nesterov: true, labelSmoothing: 0.1 }],
    ['clipped', { clipNorm: 0.5 }],
    ['with LARS', { lars: { trust: 0.02 }, clipNorm: 1 }],
    ['with a factor on the learning rate', amplification({ apply: 'learning-rate' })],
    ['with backpropagated factors', amplification({ apply: 'backpropagated' })],
    ['measuring weight decay', { ...amplification({ measureWeightDecay: true }), weightDecay: 0.1 }],
    ['without amplification', { amplification: 'none' }],
  ])("%s is the processors'", async (_, changes) => {
    const options = { steps: 1, factors: chosen, analysed: changes.amplification !== 'none' };
    const there = await trained({ ...onGpu, ...changes }, options);
    const here = await trained({ ...onProcessors, ...changes }, options);
    expect(there.iterations).toBe(1);
    expect(Math.abs(there.lossSum / here.lossSum - 1)).toBeLessThan(1e-5);
    expect(there.correct).toBe(here.correct);
    expect(relativeDifference(there.velocity, here.velocity)).toBeLessThan(1e-4);
    expect(relativeDifference(there.weights, here.weights)).toBeLessThan(1e-5);
    expect(relativeDifference(there.statistics, here.statistics)).toBeLessThan(1e-5);
    expect(Math.abs(there.test.lossSum / here.test.lossSum - 1)).toBeLessThan(1e-4);
    expect(there.sums.length).toBe(here.sums.length);
    for (const [layer, sums] of there.sums.entries()) {
      const expected = here.sums[layer];
      expect([sums.size, sums.dead]).toEqual([expected.size, expected.dead]);
      for (const key of ['netSum', 'totalSum', 'ratioSum'] as const) {
        expect(Math.abs(sums[key] / expected[key] - 1)).toBeLessThan(1e-3);
      }
    }
  });

  it('of two workers on one device, in shared memory, is that of one worker', async () => {
    const changes = { ...resnet, microBatch: 8, batchSize: 32 };
    const one = await trained({ ...changes, devices: [device] }, { steps: 1 });
    const two = await trained({ ...changes, devices: [device, device] }, { steps: 1 });
    expect(Math.abs(two.lossSum / one.lossSum - 1)).toBeLessThan(1e-6);
    expect(relativeDifference(two.velocity, one.velocity)).toBeLessThan(1e-6);
    expect(relativeDifference(two.weights, one.weights)).toBeLessThan(1e-6);
  });
});

describe('batch norms that take their statistics together', () => {
  it.each([32, 31])(
    'make two workers, in shared memory, one that has all of a batch of %d',
    async (batchSize) => {
      const changes = { ...resnet, batchSize };
      const one = await trained({ ...changes, devices: [device] }, { steps: 1 });
      const two = await trained({ ...changes, devices: [device, device], syncBatchNorm: true }, { steps: 1 });
      expect(Math.abs(two.lossSum / one.lossSum - 1)).toBeLessThan(1e-5);
      expect(two.correct).toBe(one.correct);
      expect(relativeDifference(two.velocity, one.velocity)).toBeLessThan(1e-4);
      expect(relativeDifference(two.weights, one.weights)).toBeLessThan(1e-5);
      expect(relativeDifference(two.statistics, one.statistics)).toBeLessThan(1e-5);
    },
  );

  it('serve a last batch that is too small for all workers', async () => {
    const changes = { ...resnet, batchSize: 2 };
    const options = { train: 3, learningRate: 0.01 };
    const one = await trained({ ...changes, devices: [device] }, options);
    const two = await trained({ ...changes, devices: [device, device], syncBatchNorm: true }, options);
    expect(two.iterations).toBe(2);
    expect(relativeDifference(two.weights, one.weights)).toBeLessThan(1e-4);
  });
});

describe('CUDA graphs', () => {
  it.each(['float32', 'tf32', 'bfloat16'])('give the bits of steps without, in %s', async (precision) => {
    // Six batches an epoch, and a short one.
    const run = (cudaGraph: string) =>
      trained(
        { ...onGpu, precision, cudaGraph, batchSize: 16, clipNorm: 1 },
        { train: 104, epochs: 4, factors: chosen },
      );
    const [graph, eager, again] = [await run('on'), await run('off'), await run('on')];
    expect(graph.iterations).toBe(7);
    for (const other of [eager, again]) {
      expect(other.lossSum).toBe(graph.lossSum);
      expect(bits(other.weights).equals(bits(graph.weights))).toBe(true);
      expect(bits(other.velocity).equals(bits(graph.velocity))).toBe(true);
      expect(bits(other.statistics).equals(bits(graph.statistics))).toBe(true);
      expect(other.sums).toEqual(graph.sums);
    }
  });

  it('are recorded again where backpropagated factors change', async () => {
    const changes = { ...onGpu, ...amplification({ apply: 'backpropagated' }) };
    const others = new Map([['layer3.0.conv2', 3]]);
    const byEpoch = [chosen, others, others, chosen];
    const run = (cudaGraph: string) => trained({ ...changes, cudaGraph }, { train: 192, epochs: 4, byEpoch });
    const [graph, eager] = [await run('on'), await run('off')];
    expect(bits(graph.weights).equals(bits(eager.weights))).toBe(true);
  });
});

describe('over many steps', () => {
  it('learns what it is shown, in every precision', async () => {
    for (const precision of ['float32', 'tf32', 'bfloat16']) {
      const { test } = await trained(
        { ...onGpu, precision, batchSize: 32 },
        { train: 320, epochs: 12, learningRate: 0.05, analysed: false },
      );
      expect(test.correct, precision).toBeGreaterThan(30);
    }
  });

  it('gives up after 25 steps in a row that are not finite, with what was finite kept', async () => {
    const wild = { ...onGpu, batchSize: 8 };
    const run = await trained(wild, { train: 320, learningRate: 1e30, analysed: false });
    expect(run.diverged).toBe(true);
    expect(run.skipped).toBeGreaterThanOrEqual(25);
    expect(run.statistics.every(Number.isFinite)).toBe(true);
  });
});
