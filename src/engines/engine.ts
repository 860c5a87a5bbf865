// What an engine offers: a replica of a graph on one device that computes gradients and evaluates.

import { type Batch, IMAGE_CHANNELS, IMAGE_SIZE, type Normalisation } from '../data/dataset.ts';
import type { LayerFactors } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';

/**
 * What all workers give, one after the other by rank: blocks until all have called it, with as many numbers. All call it
 * as often, in the same order. The result may be overwritten by the next call.
 */
export type AllGather = (own: Float64Array) => Float64Array;

export interface ReplicaOptions {
  readonly graph: Graph;
  readonly normalisation: Normalisation;
  /** [graph.parameterLength], read at every call: other threads write it between calls. */
  readonly parameters: Float32Array;
  /** [graph.parameterLength], written by `gradient`; padding stays 0. */
  readonly gradient: Float32Array;
  /** [graph.statisticsLength], running statistics of the batch norms: written by `gradient`, read by `evaluate`. */
  readonly statistics: Float32Array;
  /** In training: share of the target that is spread evenly over the classes; 0 by default. */
  readonly labelSmoothing?: number;
  /** Where batch norms take their statistics over the passes of all workers: by it. */
  readonly allGather?: AllGather;
  /** Called after each operation of `gradient`; without it no operation is timed. */
  readonly profile?: (timing: OperationTiming) => void;
}

/** One operation of a training pass, as it ran. The operations of a call follow each other and cover it. */
export interface OperationTiming {
  /** Of the node, of the nodes where several are computed together, or of what belongs to no node. */
  readonly name: string;
  /** The node's, or `assemble` (the batch, from bytes to pixels on the device), `weights` (their transfer). */
  readonly op: string;
  /** Name of the layer whose parameters it uses. */
  readonly layer?: string;
  readonly phase: 'forward' | 'backward';
  /** In microseconds, by the clock of `performance.now()` on this thread. */
  readonly start: number;
  /** In microseconds, with the freeing of what it read last. */
  readonly duration: number;
}

/** Of one sample, channels innermost. */
export const IMAGE_SHAPE: readonly number[] = [IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS];

/** @throws RangeError where vectors do not fit the graph, or the graph's input is not an image. */
export function checkReplicaOptions({ graph, parameters, gradient, statistics }: ReplicaOptions): void {
  const lengths = [
    ['parameters', parameters.length, graph.parameterLength],
    ['gradient', gradient.length, graph.parameterLength],
    ['statistics', statistics.length, graph.statisticsLength],
  ] as const;
  for (const [name, length, expected] of lengths) {
    if (length !== expected)
      throw new RangeError(`${graph.name}: expected ${expected} ${name}, got ${length}`);
  }
  const [input] = graph.nodes;
  if (String(input.shape) !== String(IMAGE_SHAPE)) {
    throw new RangeError(`${graph.name}: expected an input of shape [${IMAGE_SHAPE}], got [${input.shape}]`);
  }
}

/** Sums over the samples of a call, so that calls and workers can be added up. */
export interface PassResult {
  /** Sum of the samples' cross-entropy, in nats. */
  readonly lossSum: number;
  /** Samples whose largest logit is the label's. */
  readonly correct: number;
}

/** An evaluation also tells what was taken for what. */
export interface EvaluationResult extends PassResult {
  /** By sample, in the order of the batch: the class of the largest logit; -1 where no logit is a number. */
  readonly predictions: Int32Array;
}

/** Calls are synchronous: a replica owns its thread. */
export interface Replica {
  /**
   * Overwrites the gradient vector with the sum over `passes` of (pass size / batchSize) * gradient of the pass's
   * mean loss. Batch norm takes its statistics over each pass, or that and those of the other workers, and updates the
   * running ones after each. A pass without samples adds nothing, but it counts among those of all workers. No passes: a
   * zero gradient.
   *
   * @param backpropagated by name of layer, what is multiplied into that which arrives at its output, before the layer
   * and all behind it use it.
   */
  gradient(passes: readonly Batch[], batchSize: number, backpropagated?: LayerFactors): PassResult;

  /** One forward pass with the running statistics. */
  evaluate(batch: Batch): EvaluationResult;

  /** What the engine holds now: live tensors and their bytes. */
  memory(): { readonly tensors: number; readonly bytes: number };

  dispose(): void;
}

/** What a step of a resident replica is told. */
export interface ResidentStep {
  readonly passes: readonly Batch[];
  /** Samples whose mean loss the step's gradient is of, over all workers. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** S and A see the gradient. */
  readonly analysed: boolean;
  /** Of an analysis: S and A start from 0, also where this step is then skipped. */
  readonly first: boolean;
}

/** Sums over the steps since `begin`, of the steps that were not skipped and of this worker's samples. */
export interface StepTotals extends PassResult {
  readonly samples: number;
  /** Optimizer steps taken. */
  readonly iterations: number;
  readonly skipped: number;
  /** Steps skipped up to now without one between that was not; `begin` does not clear it. */
  readonly skippedInARow: number;
  /** How long the thread waited for its device, where that works by itself. */
  readonly waitedMilliseconds?: number;
}

/** Before the first step. */
export const NO_STEPS: StepTotals = {
  ...{ lossSum: 0, correct: 0, samples: 0 },
  ...{ iterations: 0, skipped: 0, skippedInARow: 0 },
};

/** The vectors of a resident replica that the host can read and write; S and A: of its shard. */
export type ResidentVector = 'weights' | 'velocity' | 'statistics' | 'S' | 'A';

export interface ResidentOptions {
  readonly graph: Graph;
  readonly normalisation: Normalisation;
  readonly labelSmoothing: number;
  /** Batch norms take their statistics over the passes of all replicas of the group. */
  readonly syncBatchNorm: boolean;
  /** Most samples of a step. */
  readonly capacity: number;
  /** The part of S and A that this replica owns; without it none is kept. */
  readonly shard?: readonly [start: number, end: number];
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly measureWeightDecay: boolean;
  readonly clipNorm?: number;
  readonly lars?: { readonly trust: number; readonly epsilon: number };
}

/**
 * A replica that keeps weights, momentum, S and A on its device, and updates them there as src/training/update.ts says.
 * Steps are launched and not waited for. Every vector starts at 0.
 */
export interface ResidentReplica {
  upload(vector: ResidentVector, values: Float32Array): void;
  download(vector: ResidentVector | 'gradient', values: Float32Array): void;
  /**
   * The replicas of a group reduce their gradients with each other. Blocks until all have joined; none may step before.
   * @param id made by one of them, by `Engine.makeGroupId`.
   * @param barrier meets all of them. A replica calls it when it has prepared for a new kind of step, and between recording a
   * step as a graph and running it: so nobody waits in a collective while another still allocates. All call it at the same
   * steps, also where a recording failed.
   */
  join(id: Uint8Array, rank: number, worldSize: number, barrier: () => void): void;
  /** Leaves the group, where it has joined one, though the others never come; before `dispose`. */
  abandon?(): void;
  /**
   * Of the steps that follow.
   * @param factors by tensor, in the graph's order: what the gradient and the learning rate are multiplied by.
   * @param backpropagated as in `Replica.gradient`.
   * @param totals that the steps are added to, without what was waited; 0, but for `skippedInARow`, if absent.
   */
  begin(
    factors: readonly { readonly gradient: number; readonly rate: number }[],
    backpropagated?: LayerFactors,
    totals?: StepTotals,
  ): void;
  /** @returns the totals as they were a few steps before: so many steps are in flight at most. */
  step(step: ResidentStep): StepTotals;
  /** Waits for all that was launched. */
  totals(): StepTotals;
  /** One forward pass with the weights and running statistics that the device holds. */
  evaluate(batch: Batch): EvaluationResult;
  /** By tensor, what its part in the shard adds to the sums of src/amplification/directionality.ts. */
  measure(): readonly { netSum: number; totalSum: number; ratioSum: number; alive: number }[];
  /** Told once: why steps are not recorded as graphs though they should be. */
  readonly warning?: string;
  dispose(): void;
}

/** An update of runs of the flat vectors, all of one length; see src/training/update.ts for what it computes. */
export interface RunUpdate {
  readonly weights: Float32Array;
  readonly velocity: Float32Array;
  /** One a worker, at least one. */
  readonly gradients: readonly Float32Array[];
  /** Both, or neither. */
  readonly S?: Float32Array;
  readonly A?: Float32Array;
  /**
   * Five numbers a run: its start, its end (excluded), and what is multiplied: the gradient, the weight (added to the
   * gradient), the step.
   */
  readonly runs: Float64Array;
  readonly momentum: number;
  readonly nesterov: boolean;
  /** Times the weight, added to the gradient that S and A see. */
  readonly measuredDecay: number;
}

/**
 * The arithmetic of the update, where an engine has it faster than TypeScript. It computes in float32, rounding every
 * operation, while TypeScript rounds only what it stores: each number agrees to a few ulp of its largest addend.
 */
export interface UpdateKernels {
  update(update: RunUpdate): void;
  /**
   * Squared norms of runs of a vector, which is the sum of the given ones; squares are added in float64.
   *
   * @param ranges two numbers each: start, end (excluded).
   * @param norms written, one a range.
   */
  squaredNorms(parts: readonly Float32Array[], ranges: Float64Array, norms: Float64Array): void;
  allFinite(vector: Float32Array): boolean;
}

/** An engine and backend that loaded on this thread. */
export interface Engine {
  readonly name: 'tfjs' | 'torch';
  /** The backend as logged, with its version. */
  readonly description: string;
  /** Without them the update runs in TypeScript. */
  readonly updateKernels?: UpdateKernels;
  createReplica(options: ReplicaOptions): Replica;
  /** On devices that can keep all there is of a run. */
  createResidentReplica?(options: ResidentOptions): ResidentReplica;
  /** Of a group of resident replicas on several devices. */
  makeGroupId?(): Uint8Array;
  /** Of a device with memory of its own: the most that this process has held on it so far, all its replicas together. */
  deviceMemory?(): DeviceMemory;
}

/** Peaks, in bytes. */
export interface DeviceMemory {
  /** Of what tensors take. */
  readonly allocatedPeak: number;
  /** Of what the device had to give for them. */
  readonly reservedPeak: number;
}
