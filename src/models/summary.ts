// What a model costs: parameters, multiply-adds and memory, derived from its graph.

import { candidates } from './candidates.ts';
import { type Graph, type LayerKind, type Node, sizeOf } from './graph.ts';
import { liveness } from './liveness.ts';

export interface LayerSummary {
  readonly name: string;
  readonly kind: LayerKind;
  /** As PyTorch states it. */
  readonly weightShape: readonly number[];
  /** [height, width, channels] or [features] of one sample. */
  readonly outputShape: readonly number[];
  readonly parameters: number;
  /** Multiply-adds of one sample's forward pass; batch norms count 0, as is usual. */
  readonly macs: number;
  readonly candidate: boolean;
}

export interface ModelSummary {
  readonly rows: readonly LayerSummary[];
  readonly parameters: number;
  readonly macs: number;
}

export function summarise(graph: Graph): ModelSummary {
  const chosenFrom = new Set(candidates(graph).map((candidate) => candidate.name));
  const rows = graph.nodes.flatMap((node): LayerSummary[] => {
    if (!node.layer) return [];
    const { name, kind, parameters } = node.layer;
    return [
      {
        name,
        kind,
        weightShape: parameters[0].shape,
        outputShape: node.shape,
        parameters: parameters.reduce((sum, parameter) => sum + parameter.size, 0),
        macs: nodeMacs(node),
        candidate: chosenFrom.has(name),
      },
    ];
  });
  return { rows, parameters: graph.parameterCount, macs: rows.reduce((sum, row) => sum + row.macs, 0) };
}

function nodeMacs(node: Node): number {
  if (node.op !== 'conv2d' && node.op !== 'linear') return 0;
  const weight = node.layer!.parameters[0];
  const positions = node.op === 'conv2d' ? node.shape[0] * node.shape[1] : 1;
  return positions * weight.size;
}

/** Floating-point operations to train on one image: forward, and twice as much backward, two a multiply-add. */
export const trainingFlops = (graph: Graph): number => 6 * summarise(graph).macs;

/** Of an engine before any model. */
const BASE_BYTES = 16 * 2 ** 20;
/** Allocators round up and leave gaps: measured on the wasm heap, 1.0 to 1.4 times what is live. */
const ALLOCATION_MARGIN = 1.2;

/**
 * Bytes that one training pass of `samples` needs: the live activations and gradients of activations as the reverse
 * sweep frees them, the filters, and scratch of a convolution or batch norm. Meant to bound from above, for refusing
 * what cannot fit; not a measurement.
 *
 * @param elementBytes of one number of an activation or filter: 4 in float32, 2 in bfloat16.
 */
export function estimatePassBytes(graph: Graph, samples: number, elementBytes = 4): number {
  const { afterForward, afterBackward } = liveness(graph);
  const { bytes, scratch } = memoryOf(graph, samples, elementBytes);
  let { live, peak } = sweep(graph, { bytes, scratch, freed: afterForward });
  const gradients = new Set<number>([graph.nodes.length - 1]);
  for (const node of graph.nodes.toReversed()) {
    for (const input of node.inputs) {
      if (gradients.has(input)) continue;
      gradients.add(input);
      live += bytes[input];
    }
    peak = Math.max(peak, live + scratch(node));
    if (gradients.delete(node.index)) live -= bytes[node.index];
    for (const freed of afterBackward[node.index]) live -= bytes[freed];
  }
  return withFilters(graph, peak, elementBytes);
}

/** The same of an evaluation pass: the activations as the forward sweep frees them. */
export function estimateEvaluationBytes(graph: Graph, samples: number, elementBytes = 4): number {
  const { afterEvaluation } = liveness(graph);
  const memory = memoryOf(graph, samples, elementBytes);
  return withFilters(graph, sweep(graph, { ...memory, freed: afterEvaluation }).peak, elementBytes);
}

/** Bytes of each node's output for so many samples, and of a node's scratch. */
function memoryOf(graph: Graph, samples: number, elementBytes: number) {
  const bytes = graph.nodes.map((node) => elementBytes * samples * sizeOf(node.shape));
  const scratch = (node: Node) =>
    node.op === 'conv2d' || node.op === 'batchNorm'
      ? 2 * Math.max(bytes[node.index], bytes[node.inputs[0]])
      : 0;
  return { bytes, scratch };
}

interface SweepMemory extends ReturnType<typeof memoryOf> {
  /** By node, the outputs that are freed behind it. */
  readonly freed: readonly (readonly number[])[];
}

/** Bytes at the end of a forward sweep, and the most within it. */
function sweep(graph: Graph, { bytes, scratch, freed }: SweepMemory) {
  let live = 0;
  let peak = 0;
  for (const node of graph.nodes) {
    live += bytes[node.index];
    peak = Math.max(peak, live + scratch(node));
    for (const output of freed[node.index]) live -= bytes[output];
  }
  return { live, peak };
}

function withFilters(graph: Graph, peak: number, elementBytes: number): number {
  const largestLayer = Math.max(...graph.layers.map(({ parameters }) => parameters[0].size));
  const parameters = elementBytes * (graph.parameterLength + 2 * largestLayer);
  return BASE_BYTES + ALLOCATION_MARGIN * (peak + parameters);
}
