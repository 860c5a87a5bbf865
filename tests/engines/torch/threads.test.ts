// How the processors are shared among the workers of the engine torch.

import { afterEach, expect, test, vi } from 'vitest';
import { prepareThreads, threadsPerWorker } from '../../../src/engines/torch/threads.ts';

afterEach(() => vi.unstubAllEnvs());

const cpus = (count: number) => Array.from({ length: count }, () => 'cpu');

test.each([
  [1, 8, 8],
  [2, 8, 4],
  [3, 8, 2],
  [8, 8, 1],
  [9, 8, 1],
])('%i workers on %i processors have %i threads each', (workers, processors, threads) => {
  expect(threadsPerWorker({ devices: cpus(workers) }, processors)).toBe(threads);
  expect(threadsPerWorker({ devices: cpus(workers), threads: 5 }, processors)).toBe(5);
});

test('threads that fit are no matter; more of them than processors are worth a warning, with a better number', () => {
  vi.stubEnv('OMP_WAIT_POLICY', undefined);
  expect(prepareThreads({ devices: cpus(2) }, 8)).toBeUndefined();
  expect(prepareThreads({ devices: cpus(2), threads: 4 }, 8)).toBeUndefined();
  expect(process.env.OMP_WAIT_POLICY).toBeUndefined();
  expect(prepareThreads({ devices: cpus(2), threads: 6 }, 8)).toBe(
    'threads: 6 on each of 2 workers are 12, but this machine runs 8 at the same time; threads: 4 is likely to be faster',
  );
  expect(process.env.OMP_WAIT_POLICY).toBe('PASSIVE');
});

test('more workers than processors let each other run; a policy that the user set stays', () => {
  vi.stubEnv('OMP_WAIT_POLICY', 'ACTIVE');
  expect(prepareThreads({ devices: cpus(3) }, 2)).toBeUndefined();
  expect(process.env.OMP_WAIT_POLICY).toBe('ACTIVE');
  vi.stubEnv('OMP_WAIT_POLICY', undefined);
  expect(prepareThreads({ devices: cpus(3) }, 2)).toBeUndefined();
  expect(process.env.OMP_WAIT_POLICY).toBe('PASSIVE');
});
