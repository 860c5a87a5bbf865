// Which devices the engine torch can run on here.

import { existsSync, readdirSync } from 'node:fs';
import type { BuildInfo } from '#native-addon';
import { UsageError } from '../../errors.ts';

/** The driver's list: a folder for each GPU. */
const NVIDIA_FOLDER = '/proc/driver/nvidia/gpus';

/** @throws UsageError for a GPU: libtorch has no kernels for it, it is not there, or the engine does not run on it yet. */
export function checkNativeDevices(
  devices: readonly string[],
  { cuda, libtorch }: Pick<BuildInfo, 'cuda' | 'libtorch'>,
  gpus = countGpus(),
): void {
  for (const device of devices) {
    if (device === 'cpu') continue;
    if (!cuda) {
      throw new UsageError(
        `devices: expected cpu, as libtorch ${libtorch.version} (${libtorch.library}) is without CUDA, got ${device}; build the ` +
          'addon against one with CUDA, or use devices: [cpu]',
      );
    }
    if (Number(device.slice('cuda:'.length)) >= gpus) {
      const there = gpus === 0 ? 'no NVIDIA GPU' : `${gpus} NVIDIA GPUs, the last is cuda:${gpus - 1}`;
      throw new UsageError(`devices: expected a device of this machine, which has ${there}, got ${device}`);
    }
    throw new UsageError(
      `devices: expected cpu, on which alone engine torch runs so far, got ${device}; use devices: [cpu]`,
    );
  }
}

function countGpus(): number {
  return existsSync(NVIDIA_FOLDER) ? readdirSync(NVIDIA_FOLDER).length : 0;
}
