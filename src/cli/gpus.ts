// The GPUs as engine torch sees them, for `gradamp doctor`.

import type { CudaDevice, DeviceList, Inspection } from '#native-addon';
import { formatBytes } from './format.ts';
import { formatTable } from './table.ts';

/** `--json` prints it. */
export interface Gpus {
  /** The version of CUDA that the addon was built for; null where it is for processors alone, or there is none. */
  readonly builtFor: string | null;
  /** The newest version of CUDA that the driver has. */
  readonly driver: string | null;
  readonly devices: readonly CudaDevice[];
  /** Why engine torch has none. */
  readonly problem: string | null;
}

/** @param list asks for them; only of an addon with CUDA. */
export function findGpus({ build, info, problem }: Inspection, list: () => DeviceList): Gpus {
  const none = { builtFor: null, driver: null, devices: [] };
  if (problem !== undefined) return { ...none, problem };
  if (info.cuda === null) {
    const reason = info.cudaProblem === null ? 'its libtorch has none' : info.cudaProblem;
    return { ...none, problem: `the addon is built without CUDA: ${reason}` };
  }
  const { devices = [], problem: failure = null } = list();
  return { builtFor: info.cuda, driver: build.driver ?? null, devices, problem: failure };
}

export function describeGpus({ builtFor, driver, devices, problem }: Gpus): string {
  if (builtFor === null) return `GPUs of engine torch: none; ${problem}`;
  const versions = `addon built for CUDA ${builtFor}, ${driver === null ? 'no driver' : `driver for CUDA ${driver}`}`;
  if (problem !== null) return `GPUs of engine torch: none; ${problem} (${versions})`;
  if (devices.length === 0) return `GPUs of engine torch: none (${versions})`;
  const table = formatTable(
    [
      { title: 'device' },
      { title: 'GPU' },
      { title: 'memory', align: 'right' },
      { title: 'compute capability', align: 'right' },
      { title: 'multiprocessors', align: 'right' },
    ],
    devices.map(({ name, memoryBytes, computeCapability, multiprocessors }, index) => [
      `cuda:${index}`,
      name,
      formatBytes(memoryBytes),
      computeCapability.join('.'),
      String(multiprocessors),
    ]),
  );
  return `${table}\n${versions}`;
}
