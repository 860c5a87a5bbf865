import { afterEach, describe, expect, test, vi } from 'vitest';
import { prepareThreads, threadsPerWorker } from '../../../src/engines/torch/threads.ts';

afterEach(() => vi.unstubAllEnvs());

test('workers share the processors evenly, with one thread each at least, unless the config says a number', () => {
  const shares = [1, 2, 3, 5].map((workers) => threadsPerWorker({ devices: Array(workers).fill('cpu') }, 4));
  expect(shares).toEqual([4, 2, 1, 1]);
  expect(threadsPerWorker({ devices: ['cpu', 'cpu'], threads: 3 }, 4)).toBe(3);
});

describe('what waiting threads do', () => {
  const prepared = (workers: number, threads: number | undefined, given: Record<string, string> = {}) => {
    for (const name of ['OMP_WAIT_POLICY', 'GOMP_SPINCOUNT']) vi.stubEnv(name, given[name]);
    const warning = prepareThreads({ devices: Array(workers).fill('cpu'), threads }, 4);
    const { OMP_WAIT_POLICY, GOMP_SPINCOUNT } = process.env;
    return [OMP_WAIT_POLICY, GOMP_SPINCOUNT, warning !== undefined];
  };

  test('they sleep soon, and at once where more than the processors are asked for, which is a warning', () => {
    expect(prepared(2, 2)).toEqual([undefined, '10000', false]);
    expect(prepared(5, undefined)).toEqual(['PASSIVE', '10000', false]);
    expect(prepared(2, 3)).toEqual(['PASSIVE', '10000', true]);
  });

  test('the environment has the last word', () => {
    expect(prepared(2, 2, { GOMP_SPINCOUNT: '7' })).toEqual([undefined, '7', false]);
    expect(prepared(2, 3, { OMP_WAIT_POLICY: 'ACTIVE' })).toEqual(['ACTIVE', undefined, true]);
  });
});
