// What a run needs of the memory of its GPUs, known before it starts.

import type { CudaDevice } from '#native-addon';
import type { Config } from '../config/schema.ts';
import { IMAGE_BYTES } from '../data/dataset.ts';
import { deviceIndex } from '../engines/torch/devices.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';

/** Of a process on a GPU before any model: CUDA's context with the kernels of its libraries. An estimate. */
const CONTEXT_BYTES = 512 * 2 ** 20;
/** What cuDNN and cuBLAS take to compute in, for each worker. An estimate. */
const WORKSPACE_BYTES = 128 * 2 ** 20;

/** Of the workers of a run or of an evaluation. */
export interface DeviceNeeds {
  /** One worker each. */
  readonly devices: readonly string[];
  readonly precision: Config['precision'];
  /** Passes are the workers' shares of a batch, whatever their size. */
  readonly syncBatchNorm: boolean;
  /** Images that each uploads. */
  readonly images: number;
  /** Flat vectors of float32 that each has. */
  readonly vectors: number;
  /** Of a pass of so many samples. */
  readonly passBytes: (graph: Graph, samples: number, elementBytes: number) => number;
}

/** Of one number of an activation. */
export const elementBytesOf = (precision: Config['precision']): number => (precision === 'bfloat16' ? 2 : 4);

/** Weights, gradient and momentum; in runs that amplify also S and A. */
export const trainingVectors = ({ amplification }: Pick<Config, 'amplification'>): number =>
  amplification === 'none' ? 3 : 5;

/** Bytes by device, for passes of so many samples: an estimate that is meant to bound from above. */
export function deviceBytes(graph: Graph, samples: number, needs: DeviceNeeds): ReadonlyMap<string, number> {
  const { devices, precision, images, vectors, passBytes } = needs;
  const elementBytes = elementBytesOf(precision);
  // Of the weights a copy beside them, in what is computed with.
  const perParameter = 4 * vectors + (elementBytes === 4 ? 0 : elementBytes);
  const flat = perParameter * graph.parameterLength + 4 * graph.statisticsLength;
  const pass = Math.ceil(passBytes(graph, samples, elementBytes));
  const worker = WORKSPACE_BYTES + flat + images * (IMAGE_BYTES + 1) + pass;
  const bytes = new Map<string, number>();
  for (const device of devices) bytes.set(device, (bytes.get(device) ?? CONTEXT_BYTES) + worker);
  return bytes;
}

/** @throws UsageError, one line, where a GPU has too little memory for its workers. */
export function checkDeviceMemory(
  graph: Graph,
  samples: number,
  needs: DeviceNeeds,
  gpus: readonly CudaDevice[],
): void {
  const limitOf = (device: string) => gpus[deviceIndex(device)].memoryBytes;
  const fits = (size: number) =>
    [...deviceBytes(graph, size, needs)].every(([device, bytes]) => bytes <= limitOf(device));
  for (const [device, bytes] of deviceBytes(graph, samples, needs)) {
    if (bytes <= limitOf(device)) continue;
    const workers = needs.devices.filter((name) => name === device).length;
    const [who, need] = workers === 1 ? ['a worker', 'it needs'] : [`${workers} workers`, 'they need'];
    const { name, memoryBytes } = gpus[deviceIndex(device)];
    throw new UsageError(
      `model ${graph.name}: expected ${who} to fit the ${gibibytes(memoryBytes)} of ${device} (${name}), but ${need} about ` +
        `${gibibytes(bytes)}; ${smallerPass(samples, fits, needs)}`,
    );
  }
}

/** What to do about passes of so many samples. */
export function smallerPass(
  samples: number,
  fits: (samples: number) => boolean,
  { devices, syncBatchNorm }: Pick<DeviceNeeds, 'devices' | 'syncBatchNorm'>,
): string {
  let fitting = samples;
  while (fitting > 0 && !fits(fitting)) fitting = Math.floor(fitting / 2);
  if (fitting === 0) return 'use a smaller width';
  return syncBatchNorm ? `set batchSize: ${fitting * devices.length}` : `set microBatch: ${fitting}`;
}

export const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
