// A replica of a graph on libtorch: the sweep itself is native; this side checks, and names what native code numbers.

import type { Batch } from '../../data/dataset.ts';
import type { LayerFactors } from '../../models/candidates.ts';
import type { Graph } from '../../models/graph.ts';
import type { EvaluationResult, PassResult, Replica, ReplicaOptions } from '../engine.ts';
import { checkReplicaOptions } from '../engine.ts';
import type { NativeAddon, NativeBatch, NativeReplica } from './addon.ts';
import { type Plan, planOf } from './plan.ts';

export class TorchReplica implements Replica {
  readonly #graph: Graph;
  readonly #plan: Plan;
  readonly #profile: ReplicaOptions['profile'];
  readonly #native: NativeReplica;

  constructor(addon: NativeAddon, options: ReplicaOptions & { readonly device: 'cpu' }) {
    checkReplicaOptions(options);
    const { graph, normalisation, parameters, gradient, statistics, labelSmoothing = 0 } = options;
    const { device, profile, allGather } = options;
    this.#graph = graph;
    this.#plan = planOf(graph, { fuse: true });
    this.#profile = profile;
    this.#native = new addon.Replica({
      plan: this.#plan,
      ...{ device, ...normalisation },
      ...{ parameters, gradient, statistics, labelSmoothing, profiled: profile !== undefined, allGather },
    });
  }

  gradient(passes: readonly Batch[], batchSize: number, backpropagated?: LayerFactors): PassResult {
    const graph = this.#graph;
    const factors = backpropagated && layerFactors(graph, backpropagated);
    const began = 1000 * performance.now();
    const result = this.#native.gradient(passes.map(nativeBatch), batchSize, factors);
    if (this.#profile)
      reportTimings(this.#profile, this.#native.timings(), { graph, plan: this.#plan, began });
    return result;
  }

  evaluate(batch: Batch): EvaluationResult {
    return this.#native.evaluate(nativeBatch(batch));
  }

  memory(): { tensors: number; bytes: number } {
    return this.#native.memory();
  }

  dispose(): void {
    this.#native.dispose();
  }
}

/** By index of the layer; 1 where there is none. */
export function layerFactors(graph: Graph, factors: LayerFactors): Float64Array {
  return Float64Array.from(graph.layers, ({ name }) => factors.get(name) ?? 1);
}

interface TimedCall {
  readonly graph: Graph;
  readonly plan: Plan;
  /** When the call began, in microseconds. */
  readonly began: number;
}

/** @param timings see NativeReplica. */
export function reportTimings(
  profile: NonNullable<ReplicaOptions['profile']>,
  timings: Float64Array,
  { graph, plan, began }: TimedCall,
): void {
  for (let i = 0; i < timings.length; i += 4) {
    const [position, backward, start, duration] = timings.subarray(i, i + 4);
    const step = plan.steps[position];
    const { name, op } = step ?? { name: 'batch', op: 'assemble' };
    const layer = step && graph.layers[step.layer];
    profile({
      ...{ name, op, ...(layer && { layer: layer.name }) },
      ...{ phase: backward ? 'backward' : 'forward', start: began + start, duration },
    });
  }
}

export function nativeBatch({ split, indices, augmentation }: Batch): NativeBatch {
  return { images: split.images, labels: split.labels, indices, ...augmentation };
}
