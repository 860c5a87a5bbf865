// Where in a step the first number came up that is not finite: what a run that diverges tells about itself.

import type { Graph } from '../models/graph.ts';
import { allFinite, tensorsOf } from './update.ts';

/** What a step has read and written, laid out by the graph; left out where it is not known. */
export interface StepNumbers {
  /** [graph.parameterLength] */
  readonly weights: Float32Array;
  /** [graph.parameterLength] */
  readonly gradient: Float32Array;
  /** [graph.statisticsLength], with those of the step's own batch in them. */
  readonly statistics?: Float32Array;
  /** In nats. */
  readonly lossSum?: number;
}

/**
 * In the order in which a step computes: a weight tensor, the first batch norm whose statistics are not finite (what
 * arrived there overflowed), the loss, the layer nearest to the loss whose gradient is not.
 * @returns a name for a message, such as "gradient of layer conv1"; undefined where all is finite.
 */
export function firstNonFinite(graph: Graph, numbers: StepNumbers): string | undefined {
  const { weights, gradient, statistics, lossSum } = numbers;
  const allFiniteAt = (vector: Float32Array, offset: number, size: number) =>
    allFinite(vector.subarray(offset, offset + size));

  const tensor = tensorsOf(graph).find(({ offset, size }) => !allFiniteAt(weights, offset, size));
  if (tensor) return `weights ${tensor.name}`;
  const norm = graph.nodes.find(
    (node) =>
      node.op === 'batchNorm' &&
      statistics &&
      // Its means, then its variances, by channel.
      !allFiniteAt(statistics, node.statisticsOffset, 2 * node.shape[node.shape.length - 1]),
  );
  if (norm) return `activations at layer ${norm.name}`;
  if (lossSum !== undefined && !Number.isFinite(lossSum)) return 'the loss';
  const layer = graph.layers.findLast(({ parameters }) =>
    parameters.some(({ offset, size }) => !allFiniteAt(gradient, offset, size)),
  );
  return layer && `gradient of layer ${layer.name}`;
}
