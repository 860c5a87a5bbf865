// The types of the native addon (native/*.cpp); loading it is load.ts's business.

import type { AddonBuild, CudaDevice } from '#native-addon';
import type { RunUpdate, UpdateKernels } from '../engine.ts';
import type { Plan } from './plan.ts';

/** Vectors are all float32, or (in tests) all float64. */
export type Vector = Float32Array | Float64Array;

export interface NativeReplicaOptions {
  readonly plan: Plan;
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  /** Of pixels scaled to 0..1, by channel. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly parameters: Vector;
  readonly gradient: Vector;
  readonly statistics: Vector;
  readonly labelSmoothing: number;
  /** Whether every step of `gradient` is timed. */
  readonly profiled: boolean;
}

/** A batch in memory; see src/data/dataset.ts for the layouts. */
export interface NativeBatch {
  readonly images: Uint8Array;
  readonly labels: Uint8Array;
  readonly indices: Uint32Array;
  readonly top?: Uint8Array;
  readonly left?: Uint8Array;
  readonly flip?: Uint8Array;
}

/** See Replica in ../engine.ts. */
export interface NativeReplica {
  /** @param factors by layer index: what the gradient that arrives at the layer's output is multiplied by. */
  gradient(
    passes: readonly NativeBatch[],
    batchSize: number,
    factors?: Float64Array,
  ): { lossSum: number; correct: number };
  evaluate(batch: NativeBatch): { lossSum: number; correct: number; predictions: Int32Array };
  /**
   * Of the last call of `gradient`, four numbers a step: its position in the plan (-1: the assembly of the batch), 1 for
   * backward, start in microseconds since the call began, duration in microseconds.
   */
  timings(): Float64Array;
  /** Tensors that are alive between two calls, and their bytes: none, if nothing leaks. */
  memory(): { tensors: number; bytes: number };
  dispose(): void;
}

/** Every call checks its arguments, and throws a TypeError or RangeError that says what came instead. */
export interface NativeAddon extends UpdateKernels {
  /** libtorch's version that the addon runs on, and the one it was compiled for. */
  readonly build: AddonBuild;
  /** By index; none without a driver that will do. Only where the addon was built with CUDA. */
  readonly cudaDevices?: () => readonly CudaDevice[];
  /** Intra-op threads of the calling thread's operations. */
  threads(): number;
  /** Sets them for the calling thread alone. */
  setThreads(count: number): void;
  Replica: new (options: NativeReplicaOptions) => NativeReplica;
  /**
   * Reads and writes the memory that `update` does, and leaves nonsense in it: the time that no update can beat, since
   * next to nothing is computed.
   */
  touch(update: RunUpdate): void;
  /**
   * Writes a batch to the start of `images`, [n, 32, 32, 3]: gathered, cropped, flipped, normalised; the bits
   * of createAssembler in src/data/augmentation.ts, which float64 holds unchanged.
   */
  assemble(
    batch: NativeBatch,
    normalisation: { readonly mean: readonly number[]; readonly std: readonly number[] },
    images: Vector,
  ): void;
}
