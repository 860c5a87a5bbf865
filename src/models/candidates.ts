// What amplification may choose: layers, or single tensors, and which of their gradients the measures see.

import type { AmplificationSettings, Config } from '../config/schema.ts';
import type { Graph, LayerKind, Node, Parameter } from './graph.ts';

export type CandidateOptions = Pick<AmplificationSettings, 'candidates' | 'pooling' | 'normalisedBiases'>;

/** The defaults of a config. */
export const DEFAULT_CANDIDATES: CandidateOptions = {
  candidates: ['conv2d', 'batchNorm', 'linear'],
  pooling: 'layer',
  normalisedBiases: false,
};

export interface Candidate {
  /** Of the layer, or of the tensor: what is acted upon where it is chosen, whatever of it is measured. */
  readonly name: string;
  readonly kind: LayerKind;
  /** The tensors whose gradients are pooled into the candidate's one value. */
  readonly measured: readonly Parameter[];
}

/** What a candidate is. */
export const candidateNoun = (pooling: CandidateOptions['pooling']): 'layer' | 'tensor' =>
  pooling === 'tensor' ? 'tensor' : 'layer';

/** What candidates are multiplied by, by their names; where there is none, 1. */
export type LayerFactors = ReadonlyMap<string, number>;

/**
 * In the order of the layers. With pooling `layer`, weight and bias (gamma and beta) of a layer make one value; with
 * `weight` the weight's stands for the layer; with `tensor` every tensor is a candidate by itself. The bias of a
 * convolution that feeds a batch norm is measured only with `normalisedBiases`: its true gradient is 0, and rounding
 * is what is left (`paper/method.md`, open questions).
 */
export function candidates(
  graph: Graph,
  options: CandidateOptions = DEFAULT_CANDIDATES,
): readonly Candidate[] {
  const { candidates: kinds, pooling, normalisedBiases } = options;
  return graph.nodes.flatMap((node): Candidate[] => {
    if (!node.layer || !kinds.includes(node.layer.kind)) return [];
    const { name, kind, parameters } = node.layer;
    const skipBias = !normalisedBiases && feedsBatchNorm(graph, node);
    const measured = parameters.filter(
      ({ role }) => role === 'weight' || !(skipBias || pooling === 'weight'),
    );
    if (pooling !== 'tensor') return [{ name, kind, measured }];
    return measured.map((tensor) => ({ name: tensor.name, kind, measured: [tensor] }));
  });
}

function feedsBatchNorm(graph: Graph, { index }: Node): boolean {
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(index));
  return readers.length > 0 && readers.every(({ op }) => op === 'batchNorm');
}

/** Those of a run; by the defaults where it amplifies nothing. */
export function candidatesOf({ amplification }: Config, graph: Graph): readonly Candidate[] {
  return candidates(graph, amplification === 'none' ? DEFAULT_CANDIDATES : amplification);
}
