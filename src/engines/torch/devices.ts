// Which devices the engine torch can run on here.

import type { BuildInfo, CudaDevice, DeviceList, Inspection } from '#native-addon';
import type { Precision } from '../../config/schema.ts';
import { UsageError } from '../../errors.ts';

/** Major compute capability of Volta: the oldest GPUs that a libtorch of CUDA 12 has kernels for. */
const OLDEST_CAPABILITY = 7;
/** Of Ampere: the first whose matrix units take tf32 and bfloat16. */
const OLDEST_REDUCED = 8;

/** `cuda:2` -> 2. */
export const deviceIndex = (device: string): number => Number(device.slice('cuda:'.length));

/**
 * @param build of an addon that loads here, as scripts/native/addon.mjs has found out.
 * @param list asks for the GPUs; not called for processors.
 * @throws UsageError, one line, for a GPU that the addon cannot use, or not with this precision.
 */
export function checkNativeDevices(
  { devices, precision = 'float32' }: { readonly devices: readonly string[]; readonly precision?: Precision },
  { build, info }: Pick<Extract<Inspection, { problem?: undefined }>, 'build' | 'info'>,
  list: () => DeviceList,
): void {
  const wanted = devices.find((device) => device !== 'cpu');
  if (wanted === undefined) return;
  if (info.cuda === null) throw new UsageError(describeMissingCuda(wanted, info));
  const { devices: found, problem } = list();
  if (problem !== undefined) {
    throw new UsageError(
      `devices: expected GPUs that can be asked, got ${wanted}: ${problem}; use devices: [cpu]`,
    );
  }
  for (const device of devices) {
    if (device === 'cpu') continue;
    const gpu = found[deviceIndex(device)];
    if (!gpu) {
      const there = describeFound(found, { compiledFor: info.cuda, driver: build.driver });
      throw new UsageError(`devices: expected a device of this machine, which has ${there}, got ${device}`);
    }
    checkCapability(device, gpu, precision);
  }
}

function describeMissingCuda(device: string, { libtorch, cudaProblem }: BuildInfo): string {
  return cudaProblem === null
    ? `devices: expected cpu, as libtorch ${libtorch.version} (${libtorch.library}) is without CUDA, got ${device}; build the ` +
        'addon against one with CUDA, or use devices: [cpu]'
    : `devices: expected cpu, as the addon was built without CUDA (${cudaProblem}), got ${device}; get what is missing and ` +
        'build it again with `npm run build:native`, or use devices: [cpu]';
}

interface CudaVersions {
  readonly compiledFor: string;
  readonly driver?: string | null;
}

function describeFound(found: readonly CudaDevice[], { compiledFor, driver }: CudaVersions): string {
  if (found.length > 0) {
    return `${found.length} ${found.length === 1 ? 'NVIDIA GPU' : 'NVIDIA GPUs'}, the last is cuda:${found.length - 1}`;
  }
  if (!driver) return 'no NVIDIA driver';
  const [major, newest] = [compiledFor, driver].map((version) => Number(version.split('.')[0]));
  return newest < major
    ? `a driver for CUDA ${driver}, too old for the ${compiledFor} of the addon`
    : 'no NVIDIA GPU that this process may use';
}

function checkCapability(
  device: string,
  { name, computeCapability }: CudaDevice,
  precision: Precision,
): void {
  const [major] = computeCapability;
  const version = computeCapability.join('.');
  if (major < OLDEST_CAPABILITY) {
    throw new UsageError(
      `devices: expected a GPU of compute capability ${OLDEST_CAPABILITY.toFixed(1)} or newer, got ${device} (${name}, ${version}); use another device`,
    );
  }
  if (precision !== 'float32' && major < OLDEST_REDUCED) {
    throw new UsageError(
      `precision: expected float32 on ${device} (${name}, compute capability ${version}), got ${precision}, which takes ${OLDEST_REDUCED.toFixed(1)} or newer`,
    );
  }
}
