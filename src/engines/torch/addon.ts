// The types of the native addon (native/*.cpp); loading it is load.ts's business.

import type { AddonBuild, CudaDevice } from '#native-addon';
import type {
  AllGather,
  DeviceMemory,
  ResidentVector,
  RunUpdate,
  StepTotals,
  UpdateKernels,
} from '../engine.ts';
import type { Plan } from './plan.ts';

/** Vectors are all float32, or (in tests) all float64. */
export type Vector = Float32Array | Float64Array;

/** Of replicas on all devices. */
interface CommonReplicaOptions {
  readonly plan: Plan;
  /** Of pixels scaled to 0..1, by channel. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly labelSmoothing: number;
  /** Whether every step of `gradient` is timed. */
  readonly profiled: boolean;
  readonly allGather?: AllGather;
}

/** On processors. */
export interface NativeReplicaOptions extends CommonReplicaOptions {
  readonly device: 'cpu';
  readonly parameters: Vector;
  readonly gradient: Vector;
  readonly statistics: Vector;
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

/** A replica that lives on its GPU, see ResidentReplica in ../engine.ts. Calls are checked as those of `Replica`. */
export interface NativeDeviceReplicaOptions extends CommonReplicaOptions {
  /** Index of the GPU. */
  readonly device: number;
  /** Of maps and operands; without it float32. */
  readonly bfloat16: boolean;
  /** Lengths of the flat vectors. */
  readonly parameters: number;
  readonly statistics: number;
  /** Three numbers a tensor of the flat vectors: offset, size, 1 where LARS gives it a rate of its own. */
  readonly tensors: Float64Array;
  /** Three numbers a slice of the gradient, in the order in which they are reduced: step, start, end; see slices.ts. */
  readonly slices: Float64Array;
  /** Batch norms take their statistics over the replicas of the group; over the host, by `allGather` in its place. */
  readonly syncBatchNorm: boolean;
  /** Of a replica that computes gradients alone: read and written by each call, and kept in place while it is there. */
  readonly host?: {
    readonly weights: Float32Array;
    readonly gradient: Float32Array;
    readonly statistics: Float32Array;
  };
  /** Most samples of a step. */
  readonly capacity: number;
  /** Whether there are S and A, and their part that this replica owns. */
  readonly accumulates: boolean;
  readonly shardStart: number;
  readonly shardEnd: number;
  /** Batch norms by ATen's operations, as an oracle: for a plan in which nothing is fused. */
  readonly plain: boolean;
  readonly update?: NativeUpdateOptions;
}

export interface NativeUpdateOptions {
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly measureWeightDecay: boolean;
  readonly clipNorm?: number;
  /** Of LARS. */
  readonly trust?: number;
  readonly epsilon?: number;
}

/**
 * Its kernels one by one; not at all, but recorded as a CUDA graph; as the graph that was recorded before; or its sweep alone,
 * without the others of the group and without effect but on the gradient.
 */
export type StepMode = 'eager' | 'capture' | 'replay' | 'rehearse';

export interface NativeDeviceReplica {
  upload(vector: ResidentVector, values: Float32Array): void;
  download(vector: ResidentVector | 'gradient', values: Float32Array): void;
  /** Blocks until all members have called it; no step may be launched before that. */
  join(id: Uint8Array, rank: number, worldSize: number): void;
  abandon(): void;
  /** Drops the graphs. */
  forget(): void;
  /** Of the host's vectors. */
  gradient(
    passes: readonly NativeBatch[],
    batchSize: number,
    factors?: Float64Array,
  ): { lossSum: number; correct: number };
  evaluate(batch: NativeBatch): { lossSum: number; correct: number; predictions: Int32Array };
  /**
   * @param factors two numbers a tensor: of the gradient, of the rate.
   * @param backpropagated by layer.
   * @param totals that the steps are added to.
   */
  begin(factors: Float64Array, backpropagated?: Float64Array, totals?: StepTotals): void;
  step(
    passes: readonly NativeBatch[],
    batchSize: number,
    input: { readonly learningRate: number; readonly analysed: boolean; readonly first: boolean },
    mode: StepMode,
  ): StepTotals;
  totals(): StepTotals;
  /** Four numbers a tensor, of its part in the shard: sums of |S|, A and |S| / A, and how many have an A above 0. */
  measure(): Float64Array;
  timings(): Float64Array;
  memory(): { tensors: number; bytes: number };
  dispose(): void;
}

/** Peaks, and what is held now, in bytes: of the whole process. */
export interface NativeDeviceMemory extends DeviceMemory {
  readonly allocated: number;
  readonly reserved: number;
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
  /** What follows is there where libtorch has CUDA. */
  readonly DeviceReplica?: new (
    options: NativeDeviceReplicaOptions,
  ) => NativeDeviceReplica;
  /** For the whole process. */
  configureCuda?(options: { readonly tf32: boolean; readonly deterministic: boolean }): void;
  makeGroupId?(): Uint8Array;
  deviceMemory?(device: number): NativeDeviceMemory;
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
