// The numbers that all workers share: one copy of the weights, one gradient buffer a worker. No locks: who may write
// what between which barriers is stated here and kept by the step loop.

import type { DirectionAccumulators } from '../amplification/directionality.ts';
import type { Config } from '../config/schema.ts';
import type { Graph } from '../models/graph.ts';
import { initialStatistics } from '../models/initialise.ts';
import type { TensorNorms } from '../training/lars.ts';
import { tensorsOf } from '../training/update.ts';
import { gatherLength, synchronisesBatchNorm } from './all-gather.ts';

/** Views of SharedArrayBuffers: posted to a worker, they stay the same memory. Vectors are laid out by the graph. */
export interface ParameterStore {
  /** Read by all replicas; each worker writes its own shard in the update. */
  readonly weights: Float32Array;
  /** The optimizer's momentum buffer; each worker writes its own shard. */
  readonly velocity: Float32Array;
  /** By rank; written by that worker before the barrier in front of an update, read by all before the one behind it. */
  readonly gradients: readonly Float32Array[];
  /** By rank, running statistics of the batch norms; equal for all ranks after `averageStatistics`. */
  readonly statistics: readonly Float32Array[];
  /** By rank, what its shard adds to the squared norms of the tensors: written and read around a barrier of their own. */
  readonly norms: readonly TensorNorms[];
  /** What batch norms that are synchronised gather; see all-gather.ts. */
  readonly gathered?: Float64Array;
  /** S and A, for runs that amplify; each worker writes its own shard. One pair for all analyses of a run. */
  readonly accumulators?: DirectionAccumulators;
}

export const sharedFloat32 = (length: number): Float32Array =>
  new Float32Array(new SharedArrayBuffer(4 * length));

const sharedFloat64 = (length: number): Float64Array => new Float64Array(new SharedArrayBuffer(8 * length));

/** A store of zeros but for the running statistics; the workers draw the weights (`Trainer.create`). */
export function createStore(graph: Graph, config: Config): ParameterStore {
  const { devices, amplification } = config;
  const vector = () => sharedFloat32(graph.parameterLength);
  const statistics = devices.map(() => sharedFloat32(graph.statisticsLength));
  for (const values of statistics) values.set(initialStatistics(graph));
  const tensors = tensorsOf(graph).length;
  return {
    weights: vector(),
    velocity: vector(),
    gradients: devices.map(vector),
    statistics,
    norms: devices.map(() => ({ weights: sharedFloat64(tensors), gradient: sharedFloat64(tensors) })),
    ...(synchronisesBatchNorm(config) && { gathered: sharedFloat64(gatherLength(graph, devices.length)) }),
    ...(amplification !== 'none' && { accumulators: { S: vector(), A: vector() } }),
  };
}

/** Bytes of a run's store. */
export function storeBytes(graph: Graph, config: Config): number {
  const { devices, amplification } = config;
  const vectors = 2 + devices.length + (amplification === 'none' ? 0 : 2);
  const norms = 16 * tensorsOf(graph).length;
  const gathered = synchronisesBatchNorm(config) ? 8 * gatherLength(graph, devices.length) : 0;
  return (
    4 * vectors * graph.parameterLength + devices.length * (4 * graph.statisticsLength + norms) + gathered
  );
}

/** Replaces every worker's running statistics by their mean. Only while no worker is in a step. */
export function averageStatistics({ statistics }: ParameterStore): void {
  const [first, ...others] = statistics;
  for (let i = 0; i < first.length; i++) {
    let sum = first[i];
    for (const other of others) sum += other[i];
    first[i] = sum / statistics.length;
  }
  for (const other of others) other.set(first);
}
