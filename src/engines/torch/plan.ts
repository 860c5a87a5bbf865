// From a graph to the steps that the native replica walks: fuses what is cheaper in one pass over memory, and says when
// each value is freed. Pure; the steps themselves are in native/.

import { type Graph, type Node, type Parameter, sizeOf } from '../../models/graph.ts';
import { type Liveness, liveness, livenessOf, type SweepStep, stepOf } from '../../models/liveness.ts';

/** Values are named by the node of the graph that they are the output of. */
export type PlanStep = SweepStep & {
  readonly op: Exclude<Node['op'], 'input'>;
  /** For messages and profiles: the nodes it computes. */
  readonly name: string;
  /** Shape of the output for one sample. */
  readonly shape: readonly number[];
  /** Index of the layer whose parameters it uses; -1 without one. */
  readonly layer: number;
  readonly weight?: Parameter;
  readonly bias?: Parameter;
  readonly kernel?: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly epsilon?: number;
  readonly momentum?: number;
  readonly statisticsOffset?: number;
  /** Of a batch norm: its output, after `inputs[1]` was added where there is one, goes through a ReLU. */
  readonly relu?: boolean;
  /** Its output is freed in the forward sweep, and computed again from `inputs[0]` when the backward sweep asks for it. */
  readonly recomputed?: boolean;
};

export interface Plan {
  readonly steps: readonly PlanStep[];
  /** Number of values: nodes of the graph. */
  readonly values: number;
  readonly classes: number;
  readonly layers: number;
  readonly afterForward: readonly (readonly number[])[];
  readonly afterBackward: readonly (readonly number[])[];
  readonly afterEvaluation: readonly (readonly number[])[];
}

export interface PlanOptions {
  /** A batch norm takes over the ReLU behind it, and an addition between the two: none of the values between is stored. */
  readonly fuse: boolean;
  /**
   * What the backward sweep may keep of the forward sweep's values, as a share of what it keeps where each node is a step,
   * which is what PyTorch keeps. Of steps that are fused, but add nothing, outputs are not kept as long as there is more,
   * the largest first: one pass over memory makes such an output again, for each step of the backward sweep that reads it;
   * those that several read come last. By default 0: none of them is kept.
   */
  readonly kept?: number;
}

/** The last step is the loss. */
export function planOf(graph: Graph, { fuse, kept = 0 }: PlanOptions): Plan {
  const fusions = fuse ? fusionsOf(graph) : new Map<number, Fusion>();
  const swallowed = new Set([...fusions.values()].flatMap(({ swallowed }) => swallowed));
  // A fused step stands where its last node stood: by then its other input is there too.
  const whole = graph.nodes.flatMap((node) => {
    if (node.op === 'input' || swallowed.has(node.index)) return [];
    const fusion = fusions.get(node.index);
    return [fusion ? fusedStep(graph, node, fusion) : plainStep(node)];
  });
  const sources = recomputable(whole);
  const size = (value: number) => sizeOf(graph.nodes[value].shape);
  let excess = keptSize(livenessOf(whole), size) - kept * keptSize(liveness(graph), size);
  // Of equal ones the first, which the backward sweep comes to last, when little else is left.
  const passes = (value: number) =>
    whole.filter(({ readByBackward }) => readByBackward.includes(value)).length;
  for (const value of [...sources.keys()].sort((a, b) => passes(a) - passes(b) || size(b) - size(a))) {
    // What no backward step reads is not kept anyway.
    if (passes(value) > 0 && size(value) <= excess) excess -= size(value);
    else sources.delete(value);
  }
  const steps = whole.map((step) => ({
    ...step,
    recomputed: sources.has(step.output),
    readByBackward: step.readByBackward.map((value) => sources.get(value) ?? value),
  }));
  return {
    steps,
    values: graph.nodes.length,
    classes: graph.classes,
    layers: graph.layers.length,
    ...livenessOf(steps),
  };
}

/** Outputs that can be computed again, and what from. */
function recomputable(steps: readonly PlanStep[]): Map<number, number> {
  const sources = new Map<number, number>();
  for (const { recomputed, output, inputs } of steps) {
    // What it is computed from must be there: where that would be computed again itself, the output is kept.
    if (recomputed && !sources.has(inputs[0])) sources.set(output, inputs[0]);
  }
  return sources;
}

/** Of the values that are there between the two sweeps. */
const keptSize = ({ afterBackward }: Liveness, size: (value: number) => number): number =>
  afterBackward.flat().reduce((sum, value) => sum + size(value), 0);

interface Fusion {
  readonly batchNorm: Node;
  /** What is added to the batch norm's output. */
  readonly residual?: number;
  /** The nodes in front of the ReLU that its step computes too. */
  readonly swallowed: readonly number[];
}

/** By the ReLU that ends them. */
function fusionsOf(graph: Graph): Map<number, Fusion> {
  const readers = graph.nodes.map(
    ({ index }) => graph.nodes.filter(({ inputs }) => inputs.includes(index)).length,
  );
  const fusions = new Map<number, Fusion>();
  const isFree = (index: number) => graph.nodes[index].op === 'batchNorm' && readers[index] === 1;
  for (const relu of graph.nodes) {
    if (relu.op !== 'relu') continue;
    const before = graph.nodes[relu.inputs[0]];
    if (isFree(before.index)) {
      fusions.set(relu.index, { batchNorm: before, swallowed: [before.index] });
    } else if (before.op === 'add' && readers[before.index] === 1) {
      const [a, b] = before.inputs;
      const [normalised, residual] = isFree(a) ? [a, b] : [b, a];
      if (!isFree(normalised) || a === b) continue;
      const swallowed = [normalised, before.index];
      fusions.set(relu.index, { batchNorm: graph.nodes[normalised], residual, swallowed });
    }
  }
  return fusions;
}

function plainStep(node: Exclude<Node, { op: 'input' }>): PlanStep {
  const { op, name, shape, layer } = node;
  const tensor = (role: Parameter['role']) => layer?.parameters.find((parameter) => parameter.role === role);
  const { index: _, inputs: __, layer: ___, ...attributes } = node;
  return {
    ...attributes,
    ...stepOf(node),
    // The native step keeps where each maximum was.
    ...(op === 'maxPool' && { readByBackward: [] }),
    op,
    name,
    shape,
    layer: layer?.index ?? -1,
    weight: tensor('weight'),
    bias: tensor('bias'),
  };
}

function fusedStep(graph: Graph, relu: Node, { batchNorm, residual, swallowed }: Fusion): PlanStep {
  if (batchNorm.op !== 'batchNorm') throw new Error(`expected a batch norm, got ${batchNorm.op}`);
  const [x] = batchNorm.inputs;
  const names = [...swallowed, relu.index].map((index) => graph.nodes[index].name);
  return {
    ...plainStep(batchNorm),
    output: relu.index,
    name: names.join('+'),
    inputs: residual === undefined ? [x] : [x, residual],
    // Where nothing was added, the ReLU's sign is computed again from x; otherwise it is read from the output.
    readByBackward: residual === undefined ? [x] : [x, relu.index],
    relu: true,
    recomputed: residual === undefined,
  };
}
