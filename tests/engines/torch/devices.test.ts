// Which devices the engine torch takes, for what an addon and CUDA may say of themselves.

import { expect, test } from 'vitest';
import type { AddonBuild, BuildInfo, CudaDevice, DeviceList } from '#native-addon';
import type { Precision } from '../../../src/config/schema.ts';
import { checkNativeDevices } from '../../../src/engines/torch/devices.ts';
import { UsageError } from '../../../src/errors.ts';

const info: BuildInfo = {
  libtorch: { version: '2.1.0', from: 'system', library: '/usr/lib/libtorch_cpu.so' },
  compiler: 'g++',
  cuda: '13.0',
  cudaProblem: null,
  instructionSets: ['baseline'],
  sources: '',
};
const build: AddonBuild = {
  libtorch: '2.1.0',
  compiledFor: '2.1.0',
  instructionSet: 'baseline',
  cuda: '13.0',
  driver: '13.0',
};

const gpu = (name: string, major: number, minor: number): CudaDevice => ({
  name,
  memoryBytes: 2 ** 34,
  computeCapability: [major, minor],
  multiprocessors: 80,
});
const HOPPER = gpu('NVIDIA H100', 9, 0);
const TURING = gpu('Tesla T4', 7, 5);
const PASCAL = gpu('Tesla P100', 6, 0);

const listOf =
  (...devices: CudaDevice[]) =>
  (): DeviceList => ({ devices });

test('cpu is everywhere, and nobody asks for GPUs', () => {
  const list = () => {
    throw new Error('asked');
  };
  const plain = { build, info: { ...info, cuda: null } };
  expect(() => checkNativeDevices({ devices: ['cpu', 'cpu'] }, plain, list)).not.toThrow();
});

test.each<[Precision, string[], CudaDevice[]]>([
  ['float32', ['cuda:0'], [TURING]],
  ['bfloat16', ['cuda:1', 'cuda:0', 'cuda:1'], [gpu('NVIDIA A100', 8, 0), HOPPER]],
  ['tf32', ['cuda:1'], [PASCAL, gpu('NVIDIA B200', 10, 0)]],
])('takes GPUs that are there, with %s: %j', (precision, devices, found) => {
  expect(() => checkNativeDevices({ devices, precision }, { build, info }, listOf(...found))).not.toThrow();
});

test.each<[string, Partial<BuildInfo>, string]>([
  [
    'of a libtorch without CUDA',
    { cuda: null },
    'devices: expected cpu, as libtorch 2.1.0 (/usr/lib/libtorch_cpu.so) is without CUDA, got cuda:0; build the addon against ' +
      'one with CUDA, or use devices: [cpu]',
  ],
  [
    'built without the headers of CUDA',
    { cuda: null, cudaProblem: '/usr/local/cuda: no nvrtc.h' },
    'devices: expected cpu, as the addon was built without CUDA (/usr/local/cuda: no nvrtc.h), got cuda:0; get what is ' +
      'missing and build it again with `npm run build:native`, or use devices: [cpu]',
  ],
])('refuses a GPU for an addon %s', (_, changes, message) => {
  const check = () =>
    checkNativeDevices({ devices: ['cuda:0'] }, { build, info: { ...info, ...changes } }, listOf(HOPPER));
  expect(check).toThrow(new UsageError(message));
});

test.each<[string | null, CudaDevice[], string]>([
  [null, [], 'which has no NVIDIA driver'],
  ['12.4', [], 'which has a driver for CUDA 12.4, too old for the 13.0 of the addon'],
  ['13.1', [], 'which has no NVIDIA GPU that this process may use'],
  ['13.1', [HOPPER], 'which has 1 NVIDIA GPU, the last is cuda:0'],
  ['13.1', [HOPPER, HOPPER], 'which has 2 NVIDIA GPUs, the last is cuda:1'],
])('refuses a GPU that is not there; driver %s, %#', (driver, found, reason) => {
  const check = () =>
    checkNativeDevices({ devices: ['cuda:2'] }, { build: { ...build, driver }, info }, listOf(...found));
  expect(check).toThrow(new UsageError(`devices: expected a device of this machine, ${reason}, got cuda:2`));
});

test('tells why GPUs could not be asked for', () => {
  const check = () =>
    checkNativeDevices({ devices: ['cuda:0'] }, { build, info }, () => ({ problem: 'ended by SIGKILL' }));
  expect(check).toThrow(
    new UsageError(
      'devices: expected GPUs that can be asked, got cuda:0: ended by SIGKILL; use devices: [cpu]',
    ),
  );
});

test.each<[Precision, CudaDevice, string]>([
  [
    'float32',
    PASCAL,
    'devices: expected a GPU of compute capability 7.0 or newer, got cuda:0 (Tesla P100, 6.0); use another device',
  ],
  [
    'tf32',
    TURING,
    'precision: expected float32 on cuda:0 (Tesla T4, compute capability 7.5), got tf32, which takes 8.0 or newer',
  ],
  [
    'bfloat16',
    TURING,
    'precision: expected float32 on cuda:0 (Tesla T4, compute capability 7.5), got bfloat16, which takes 8.0 or newer',
  ],
])('refuses a GPU that is too old for %s: %#', (precision, device, message) => {
  const check = () => checkNativeDevices({ devices: ['cuda:0'], precision }, { build, info }, listOf(device));
  expect(check).toThrow(new UsageError(message));
});
