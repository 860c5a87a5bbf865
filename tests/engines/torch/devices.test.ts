// Which devices the engine torch takes.

import { expect, test } from 'vitest';
import { checkNativeDevices } from '../../../src/engines/torch/devices.ts';
import { UsageError } from '../../../src/errors.ts';

const LIBTORCH = { version: '2.1.0', from: 'system', library: '/usr/lib/libtorch_cpu.so' } as const;
const [plain, withCuda] = [false, true].map((cuda) => ({ cuda, libtorch: LIBTORCH }));

test('cpu is everywhere, a GPU where libtorch has CUDA and the machine has the GPU', () => {
  expect(() => checkNativeDevices(['cpu', 'cpu'], plain, 0)).not.toThrow();
  expect(() => checkNativeDevices(['cuda:0', 'cuda:1', 'cpu'], withCuda, 2)).not.toThrow();
});

test.each([
  [
    plain,
    ['cpu', 'cuda:0'],
    1,
    'devices: expected cpu, as libtorch 2.1.0 (/usr/lib/libtorch_cpu.so) is without CUDA, got cuda:0; build the addon against ' +
      'one with CUDA, or use devices: [cpu]',
  ],
  [
    withCuda,
    ['cuda:0'],
    0,
    'devices: expected a device of this machine, which has no NVIDIA GPU, got cuda:0',
  ],
  [
    withCuda,
    ['cuda:0', 'cuda:2'],
    2,
    'devices: expected a device of this machine, which has 2 NVIDIA GPUs, the last is cuda:1, got cuda:2',
  ],
])('refuses a GPU that is not there: %#', (info, devices, gpus, message) => {
  expect(() => checkNativeDevices(devices, info, gpus)).toThrow(new UsageError(message));
});
