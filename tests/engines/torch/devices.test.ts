// Which devices the engine torch takes.

import { expect, test } from 'vitest';
import { checkNativeDevices } from '../../../src/engines/torch/devices.ts';
import { UsageError } from '../../../src/errors.ts';

const LIBTORCH = { version: '2.1.0', from: 'system', library: '/usr/lib/libtorch_cpu.so' } as const;
const [plain, withCuda] = [false, true].map((cuda) => ({ cuda, libtorch: LIBTORCH }));

test('cpu is everywhere', () => {
  expect(() => checkNativeDevices(['cpu', 'cpu'], plain, 0)).not.toThrow();
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
    ['cuda:2'],
    2,
    'devices: expected a device of this machine, which has 2 NVIDIA GPUs, the last is cuda:1, got cuda:2',
  ],
  [
    withCuda,
    ['cpu', 'cuda:1'],
    2,
    'devices: expected cpu, on which alone engine torch runs so far, got cuda:1; use devices: [cpu]',
  ],
])('refuses a GPU: %#', (info, devices, gpus, message) => {
  expect(() => checkNativeDevices(devices, info, gpus)).toThrow(new UsageError(message));
});
