// Which activations can be freed when: derived from what each step reads, used by engines and by the memory estimate.

import type { Graph, Node } from './graph.ts';

/** A step of a sweep over the graph: a node, or several that an engine computes together. */
export interface SweepStep {
  /** The node whose output it computes. */
  readonly output: number;
  /** The nodes whose outputs its forward computation reads. */
  readonly inputs: readonly number[];
  /** Those that its backward computation reads. */
  readonly readByBackward: readonly number[];
}

/** For every step, the nodes whose output is last read by its forward, or by its backward, computation. */
export interface Liveness {
  /** A training pass: freed[i] lists outputs that nothing reads after step i's forward computation. */
  readonly afterForward: readonly (readonly number[])[];
  /** A training pass: outputs that nothing reads after step i's backward computation. */
  readonly afterBackward: readonly (readonly number[])[];
  /** An evaluation pass, which has no backward computations. */
  readonly afterEvaluation: readonly (readonly number[])[];
}

/** The outputs (its own or its inputs') that the backward computation of a node reads. */
function readByBackward(node: Node): readonly number[] {
  switch (node.op) {
    case 'conv2d':
    case 'batchNorm':
    case 'linear':
    case 'softmaxCrossEntropy':
      return node.inputs;
    case 'relu':
      return [node.index];
    case 'maxPool':
      return [...node.inputs, node.index];
    case 'input':
    case 'add':
    case 'averagePool':
    case 'flatten':
      return [];
    default:
      return node satisfies never;
  }
}

/** A node as a step of its own. */
export function stepOf(node: Node): SweepStep {
  return { output: node.index, inputs: node.inputs, readByBackward: readByBackward(node) };
}

/** Of a sweep that computes node by node: step i is node i. */
export function liveness(graph: Graph): Liveness {
  return livenessOf(graph.nodes.map(stepOf));
}

/** Of a sweep that computes these steps in this order, and backward in the opposite one. */
export function livenessOf(steps: readonly SweepStep[]): Liveness {
  const lists = () => steps.map((): number[] => []);
  const [afterForward, afterBackward, afterEvaluation] = [lists(), lists(), lists()];
  const lastForward = new Map<number, number>();
  const lastBackward = new Map<number, number>();
  for (const [position, { output, inputs, readByBackward }] of steps.entries()) {
    for (const value of [output, ...inputs]) lastForward.set(value, position);
    // Backward, the steps run from the last to the first: the first of this list reads last.
    for (const value of readByBackward) if (!lastBackward.has(value)) lastBackward.set(value, position);
  }
  for (const [value, position] of lastForward) {
    afterEvaluation[position].push(value);
    const reader = lastBackward.get(value);
    if (reader === undefined) afterForward[position].push(value);
    else afterBackward[reader].push(value);
  }
  return { afterForward, afterBackward, afterEvaluation };
}
