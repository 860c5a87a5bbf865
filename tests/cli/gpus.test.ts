// The GPUs in `gradamp doctor`, for what an addon and CUDA may say of themselves.

import { expect, test } from 'vitest';
import type { CudaDevice, Inspection } from '#native-addon';
import { describeGpus, findGpus } from '../../src/cli/gpus.ts';
import { driverVersion } from '../../src/cli/machine.ts';

const H100: CudaDevice = {
  name: 'NVIDIA H100 80GB HBM3',
  memoryBytes: 79 * 2 ** 30,
  computeCapability: [9, 0],
  multiprocessors: 132,
};

const inspection = (cuda: string | null, cudaProblem: string | null = null): Inspection => ({
  build: {
    libtorch: '2.11.0',
    compiledFor: '2.11.0',
    instructionSet: 'avx512',
    cuda,
    driver: cuda && '13.1',
  },
  info: {
    libtorch: { version: '2.11.0', from: 'python', library: '/torch/lib/libtorch_cpu.so' },
    compiler: 'g++',
    cuda,
    cudaProblem,
    instructionSets: [],
    sources: '',
  },
});
const notAsked = () => {
  throw new Error('asked for devices');
};

test('are listed with what CUDA says of them, the driver and what the addon was built for', () => {
  const gpus = findGpus(inspection('13.0'), () => ({ devices: [H100, H100] }));
  expect(gpus).toEqual({ builtFor: '13.0', driver: '13.1', devices: [H100, H100], problem: null });
  expect(describeGpus(gpus).split('\n')).toEqual([
    'device  GPU                      memory  compute capability  multiprocessors',
    '──────  ─────────────────────  ────────  ──────────────────  ───────────────',
    'cuda:0  NVIDIA H100 80GB HBM3  79.0 GiB                 9.0              132',
    'cuda:1  NVIDIA H100 80GB HBM3  79.0 GiB                 9.0              132',
    'addon built for CUDA 13.0, driver for CUDA 13.1',
  ]);
});

test('where there are none, one line says why', () => {
  const none = findGpus(inspection('13.0'), () => ({ devices: [] }));
  expect(describeGpus(none)).toBe(
    'GPUs of engine torch: none (addon built for CUDA 13.0, driver for CUDA 13.1)',
  );
  expect(describeGpus({ ...none, driver: null })).toBe(
    'GPUs of engine torch: none (addon built for CUDA 13.0, no driver)',
  );
  const failed = findGpus(inspection('13.0'), () => ({ problem: 'a.node: loading it ended by SIGKILL' }));
  expect(describeGpus(failed)).toBe(
    'GPUs of engine torch: none; a.node: loading it ended by SIGKILL (addon built for CUDA 13.0, driver for CUDA 13.1)',
  );
  const plain = findGpus(inspection(null), notAsked);
  expect(plain).toEqual({
    builtFor: null,
    driver: null,
    devices: [],
    problem: 'the addon is built without CUDA: its libtorch has none',
  });
  expect(describeGpus(plain)).toBe(
    'GPUs of engine torch: none; the addon is built without CUDA: its libtorch has none',
  );
  expect(findGpus(inspection(null, '/usr/local/cuda: no nvrtc.h'), notAsked).problem).toBe(
    'the addon is built without CUDA: /usr/local/cuda: no nvrtc.h',
  );
  expect(findGpus({ problem: 'a.node: not there' }, notAsked).problem).toBe('a.node: not there');
});

test.each([
  [
    'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n',
    '535.129.03',
  ],
  [
    'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version: gcc 12.3.0\n',
    '570.86.15',
  ],
  ['something else', null],
])('the version of the driver is read from %j', (text, version) => {
  expect(driverVersion(text)).toBe(version);
});
