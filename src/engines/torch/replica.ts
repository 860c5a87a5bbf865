// A replica of a graph on libtorch: the sweep itself is native; this side checks, and names what native code numbers.

import type { Batch } from '../../data/dataset.ts';
import type { LayerFactors } from '../../models/candidates.ts';
import type { Graph } from '../../models/graph.ts';
import type { EvaluationResult, PassResult, Replica, ReplicaOptions } from '../engine.ts';
import { checkReplicaOptions } from '../engine.ts';
import type { NativeAddon, NativeBatch, NativeReplica } from './addon.ts';
import { planOf } from './plan.ts';

export class TorchReplica implements Replica {
  readonly #graph: Graph;
  readonly #native: NativeReplica;

  constructor(addon: NativeAddon, options: ReplicaOptions & { readonly device: string }) {
    checkReplicaOptions(options);
    const { graph, normalisation, parameters, gradient, statistics, labelSmoothing = 0, device } = options;
    this.#graph = graph;
    this.#native = new addon.Replica({
      plan: planOf(graph, { fuse: true }),
      ...{ device, ...normalisation },
      ...{ parameters, gradient, statistics, labelSmoothing, profiled: false },
    });
  }

  gradient(passes: readonly Batch[], batchSize: number, backpropagated?: LayerFactors): PassResult {
    const factors =
      backpropagated && Float64Array.from(this.#graph.layers, ({ name }) => backpropagated.get(name) ?? 1);
    return this.#native.gradient(passes.map(nativeBatch), batchSize, factors);
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

function nativeBatch({ split, indices, augmentation }: Batch): NativeBatch {
  return { images: split.images, labels: split.labels, indices, ...augmentation };
}
