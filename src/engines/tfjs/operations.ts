// Forward and backward step of every operation of the graph. The order of the steps and the life of their tensors is
// replica.ts's business; the arithmetic is in kernels.ts and batch-norm.ts.

import * as tf from '@tensorflow/tfjs-core';
import { type Graph, type Node, type Parameter, parameterOf } from '../../models/graph.ts';
import type { AllGather, ReplicaOptions } from '../engine.ts';
import {
  type BatchNormState,
  batchNormGradient,
  normalise,
  normaliseWithRunning,
  updateRunning,
} from './batch-norm.ts';
import { type BatchStatistics, gradientSumsOfAll, statisticsOfAll } from './batch-statistics.ts';
import {
  alias,
  averagePool,
  averagePoolGradient,
  channelAffine,
  channelMeans,
  convolutionFilterGradient,
  convolutionInputGradient,
  convolve,
  type Map4D,
  maxPool,
  maxPoolGradient,
  reluGradient,
  type Shape4D,
} from './kernels.ts';

type Vectors = Pick<ReplicaOptions, 'parameters' | 'gradient' | 'statistics'>;
type BatchNorm = Extract<Node, { op: 'batchNorm' }>;

/** A linear layer is a convolution of one tap over maps of one position. */
const LINEAR = { stride: 1, padding: 0 };

/** What the steps of one pass share. */
export interface Pass {
  readonly vectors: Vectors;
  /** Of conv2d and linear nodes, by node. */
  readonly filters: ReadonlyMap<number, Map4D>;
  /** Filled by the forward steps of a training pass; absent in evaluation. */
  readonly batchStatistics?: Map<number, BatchStatistics>;
  /** Where batch norms take their statistics over the passes of all workers. */
  readonly allGather?: AllGather;
}

/**
 * The filters of all convolutions and linear layers, [kernel, kernel, inputs, outputs], by node: new tensors, since
 * other threads write the parameters later.
 */
export function uploadFilters(graph: Graph, parameters: Float32Array): Map<number, Map4D> {
  const filters = new Map<number, Map4D>();
  for (const node of graph.nodes) {
    if (node.op !== 'conv2d' && node.op !== 'linear') continue;
    const { offset, size, shape } = parameterOf(node, 'weight');
    const values = transpose(parameters.subarray(offset, offset + size), shape[0]);
    filters.set(node.index, tf.tensor4d(values, filterShape(node)));
  }
  return filters;
}

function filterShape(node: Node): Shape4D {
  const [outputs, inputs, rows = 1, columns = 1] = parameterOf(node, 'weight').shape;
  return [rows, columns, inputs, outputs];
}

/** A node's output. The input and the loss are not computed by steps. */
export function forward(node: Node, inputs: readonly Map4D[], pass: Pass): Map4D {
  const [x] = inputs;
  switch (node.op) {
    case 'conv2d':
      return convolveWithBias(node, x, pass, node);
    case 'linear':
      return convolveWithBias(node, x, pass, LINEAR);
    case 'batchNorm':
      return normaliseNode(node, x, pass);
    case 'relu':
      return tf.relu(x);
    case 'add':
      return tf.add(x, inputs[1]);
    case 'maxPool':
      return maxPool(x, node);
    case 'averagePool':
      return averagePool(x, node);
    case 'flatten':
      // Only [1, 1, C] maps are flattened, and vectors are kept as such maps.
      return alias(x);
    case 'input':
    case 'softmaxCrossEntropy':
      throw new Error(`${node.name}: ${node.op} has no step`);
    default:
      return node satisfies never;
  }
}

function convolveWithBias(
  node: Node,
  x: Map4D,
  pass: Pass,
  options: { stride: number; padding: number },
): Map4D {
  const y = convolve(x, pass.filters.get(node.index)!, options);
  const bias = node.layer!.parameters.find(({ role }) => role === 'bias');
  if (!bias) return y;
  const shifted = channelAffine(
    y,
    new Float32Array(bias.size).fill(1),
    copyOf(pass.vectors.parameters, bias),
  );
  y.dispose();
  return shifted;
}

function normaliseNode(node: BatchNorm, x: Map4D, pass: Pass): Map4D {
  const state = batchNormState(node, pass.vectors);
  if (!pass.batchStatistics) return normaliseWithRunning(x, state);
  const { y, statistics } = normalise(x, state, pass.allGather);
  updateRunning(state, statistics, node.momentum);
  pass.batchStatistics.set(node.index, statistics);
  return y;
}

/** A training pass without samples: its part in the batch norms, which those of the other workers wait for. */
export function passNothing(graph: Graph, vectors: Vectors, allGather: AllGather): void {
  const nodes = graph.nodes.filter((node) => node.op === 'batchNorm');
  const zeros = (node: BatchNorm) => new Float64Array(parameterOf(node, 'weight').size);
  for (const node of nodes) {
    const statistics = statisticsOfAll(allGather, { mean: zeros(node), variance: zeros(node), count: 0 });
    updateRunning(batchNormState(node, vectors), statistics, node.momentum);
  }
  for (const node of nodes.toReversed()) {
    gradientSumsOfAll(allGather, { gradient: zeros(node), product: zeros(node), count: 0 });
  }
}

function batchNormState(node: BatchNorm, { parameters, statistics }: Vectors): BatchNormState {
  const gamma = copyOf(parameters, parameterOf(node, 'weight'));
  const first = node.statisticsOffset;
  return {
    gamma,
    beta: copyOf(parameters, parameterOf(node, 'bias')),
    runningMean: statistics.subarray(first, first + gamma.length),
    runningVariance: statistics.subarray(first + gamma.length, first + 2 * gamma.length),
    epsilon: node.epsilon,
  };
}

const copyOf = (vector: Float32Array, { offset, size }: Parameter) => vector.slice(offset, offset + size);

/** What the backward step of a node reads: see src/models/liveness.ts for what is still alive. */
export interface BackwardStep {
  readonly node: Node;
  /** Gradient of the loss with respect to the node's output. */
  readonly dy: Map4D;
  readonly inputs: readonly (Map4D | undefined)[];
  readonly inputShapes: readonly Shape4D[];
  readonly output: Map4D | undefined;
  /** False: the gradient of the inputs is not wanted, only that of the parameters. */
  readonly propagate: boolean;
}

/** Adds the gradient of the node's parameters to the flat vector; returns that of each input (none if not wanted). */
export function backward(step: BackwardStep, pass: Pass): readonly Map4D[] {
  const { node, dy, output } = step;
  switch (node.op) {
    case 'conv2d':
      return convolutionBackward(step, pass, node);
    case 'linear':
      return convolutionBackward(step, pass, LINEAR);
    case 'batchNorm': {
      const statistics = pass.batchStatistics!.get(node.index)!;
      const { dx, gamma, beta } = batchNormGradient(
        dy,
        step.inputs[0]!,
        batchNormState(node, pass.vectors),
        statistics,
        pass.allGather,
      );
      accumulate(pass.vectors.gradient, parameterOf(node, 'weight'), gamma);
      accumulate(pass.vectors.gradient, parameterOf(node, 'bias'), beta);
      return [dx];
    }
    case 'relu':
      return [reluGradient(dy, output!)];
    case 'add':
      return [alias(dy), alias(dy)];
    case 'maxPool':
      return [maxPoolGradient(dy, step.inputs[0]!, output!, node)];
    case 'averagePool':
      return [averagePoolGradient(dy, step.inputShapes[0], node)];
    case 'flatten':
      return [alias(dy)];
    case 'input':
    case 'softmaxCrossEntropy':
      throw new Error(`${node.name}: ${node.op} has no step`);
    default:
      return node satisfies never;
  }
}

function convolutionBackward(
  { node, dy, inputs, inputShapes, propagate }: BackwardStep,
  { vectors, filters }: Pass,
  options: { stride: number; padding: number },
): readonly Map4D[] {
  const filterGradient = convolutionFilterGradient(inputs[0]!, dy, filterShape(node), options);
  accumulateFilter(vectors.gradient, parameterOf(node, 'weight'), filterGradient.dataSync<'float32'>());
  filterGradient.dispose();
  const bias = node.layer!.parameters.find(({ role }) => role === 'bias');
  if (bias) {
    const [samples, height, width] = dy.shape;
    accumulate(
      vectors.gradient,
      bias,
      channelMeans(dy).map((mean) => mean * samples * height * width),
    );
  }
  return propagate ? [convolutionInputGradient(dy, filters.get(node.index)!, inputShapes[0], options)] : [];
}

function accumulate(gradient: Float32Array, { offset }: Parameter, values: Float64Array): void {
  for (let i = 0; i < values.length; i++) gradient[offset + i] += values[i];
}

/** From [kernel, kernel, inputs, outputs] to the order of the flat vector: outputs, kernel, kernel, inputs. */
function accumulateFilter(
  gradient: Float32Array,
  { offset, size, shape }: Parameter,
  values: Float32Array,
): void {
  const ordered = transpose(values, size / shape[0]);
  for (let i = 0; i < size; i++) gradient[offset + i] += ordered[i];
}

/** A matrix of `rows` rows, transposed; block by block, since whole columns of it miss the cache. */
function transpose(matrix: Float32Array, rows: number): Float32Array {
  const columns = matrix.length / rows;
  const transposed = new Float32Array(matrix.length);
  const block = 16;
  for (let firstRow = 0; firstRow < rows; firstRow += block) {
    const lastRow = Math.min(rows, firstRow + block);
    for (let firstColumn = 0; firstColumn < columns; firstColumn += block) {
      const lastColumn = Math.min(columns, firstColumn + block);
      for (let column = firstColumn; column < lastColumn; column++) {
        for (let row = firstRow; row < lastRow; row++) {
          transposed[column * rows + row] = matrix[row * columns + column];
        }
      }
    }
  }
  return transposed;
}
