// The plain wasm path that `bench step --against plain` compares with: the backend's stock kernels, batch norm composed
// of tf ops, no early freeing. The backend has no Conv2DBackpropFilter: the simplest fast substitute stands in.

import { setThreadsCount } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { createAssembler } from '../src/data/augmentation.ts';
import { type Batch, IMAGE_BYTES } from '../src/data/dataset.ts';
import { checkAllocations, type WasmModule } from '../src/engines/tfjs/wasm-heap.ts';
import { type Graph, type Node, type Parameter, parameterOf } from '../src/models/graph.ts';
import { normalisation } from './synthetic-data.ts';

export const PLAIN_SUBSTITUTE =
  'filter gradient as a stock Conv2D of transposed x with transposed dy (dilation = stride)';

const EPSILON = 1e-5;
type Map4D = tf.Tensor4D;

export async function loadPlainWasm(): Promise<void> {
  tf.enableProdMode();
  setThreadsCount(1);
  await tf.setBackend('wasm');
  checkAllocations((tf.backend() as unknown as { wasm: WasmModule }).wasm);
}

/** The gradient of the batch's mean loss, written to `gradient` in the layout of the graph. */
export function plainGradient(
  graph: Graph,
  parameters: Float32Array,
  gradient: Float32Array,
  batch: Batch,
): void {
  tf.tidy(() => {
    const samples = batch.indices.length;
    const images = new Float32Array(samples * IMAGE_BYTES);
    const labels = new Int32Array(samples);
    createAssembler(normalisation)(batch, images, labels);
    const read = (node: Node, role: Parameter['role']) => {
      const { offset, size } = parameterOf(node, role);
      return tf.tensor1d(parameters.slice(offset, offset + size));
    };
    const write = ({ offset }: Parameter, values: tf.Tensor) => gradient.set(values.dataSync(), offset);

    const values: Map4D[] = [tf.tensor4d(images, [samples, 32, 32, 3])];
    const filters = new Map<Node, Map4D>();
    for (const node of graph.nodes.slice(1, -1)) {
      const x = values[node.inputs[0]];
      values.push(forward(node, x, values[node.inputs[1]], read, filters));
    }
    const logits = tf.reshape(values[values.length - 1], [samples, graph.classes]);
    const oneHot = tf.oneHot(tf.tensor1d(labels, 'int32'), graph.classes);
    const dLogits = tf.div(tf.sub(tf.softmax(logits), oneHot), samples);

    const gradients: (Map4D | undefined)[] = [];
    gradients[graph.nodes.length - 2] = tf.reshape(dLogits, [samples, 1, 1, graph.classes]);
    for (const node of graph.nodes.slice(1, -1).reverse()) {
      const inputGradients = backward(node, gradients[node.index]!, values, read, write, filters);
      for (const [i, dx] of inputGradients.entries()) {
        const other = gradients[node.inputs[i]];
        gradients[node.inputs[i]] = other ? tf.add(other, dx) : dx;
      }
    }
  });
}

type Read = (node: Node, role: Parameter['role']) => tf.Tensor1D;

function forward(node: Node, x: Map4D, other: Map4D, read: Read, filters: Map<Node, Map4D>): Map4D {
  switch (node.op) {
    case 'conv2d':
    case 'linear': {
      const { stride, padding } = node.op === 'conv2d' ? node : { stride: 1, padding: 0 };
      const [outputs, inputs, kernel = 1] = parameterOf(node, 'weight').shape;
      const weight = tf.reshape<tf.Rank.R4>(read(node, 'weight'), [outputs, kernel, kernel, inputs]);
      const filter = tf.transpose(weight, [1, 2, 3, 0]);
      filters.set(node, filter);
      const y = tf.conv2d(x, filter, stride, padding);
      return node.layer!.parameters.length > 1 ? tf.add(y, read(node, 'bias')) : y;
    }
    case 'batchNorm': {
      const { centred, deviation } = statistics(x);
      const normal = tf.div<Map4D>(centred, deviation);
      return tf.add<Map4D>(tf.mul(normal, read(node, 'weight')), read(node, 'bias'));
    }
    case 'relu':
      return tf.relu(x);
    case 'add':
      return tf.add(x, other);
    case 'maxPool':
      return tf.maxPool(x, node.kernel, node.stride, 'valid');
    case 'averagePool':
      return tf.avgPool(x, node.kernel, node.stride, 'valid');
    case 'flatten':
      return x;
    default:
      throw new Error(`no plain ${node.op}`);
  }
}

function statistics(x: Map4D) {
  const centred = tf.sub<Map4D>(x, tf.mean(x, [0, 1, 2]));
  const variance = tf.mean(tf.square(centred), [0, 1, 2]);
  return { centred, deviation: tf.sqrt(tf.add(variance, EPSILON)) };
}

function backward(
  node: Node,
  dy: Map4D,
  values: readonly Map4D[],
  read: Read,
  write: (parameter: Parameter, gradient: tf.Tensor) => void,
  filters: Map<Node, Map4D>,
): Map4D[] {
  const x = values[node.inputs[0]];
  switch (node.op) {
    case 'conv2d':
    case 'linear': {
      const options = node.op === 'conv2d' ? node : { stride: 1, padding: 0 };
      write(parameterOf(node, 'weight'), filterGradient(x, dy, filters.get(node)!.shape[0], options));
      if (node.layer!.parameters.length > 1) write(parameterOf(node, 'bias'), tf.sum(dy, [0, 1, 2]));
      if (node.inputs[0] === 0) return [];
      const around = [options.padding, options.padding];
      const attributes = {
        strides: options.stride,
        pad: options.padding === 0 ? 'valid' : [[0, 0], around, around, [0, 0]],
        dataFormat: 'NHWC',
        inputShape: x.shape,
      };
      const inputs = { dy, filter: filters.get(node)! };
      return [tf.engine().runKernel('Conv2DBackpropInput', inputs, attributes as unknown as tf.NamedAttrMap)];
    }
    case 'batchNorm': {
      const { centred, deviation } = statistics(x);
      const normal = tf.div<Map4D>(centred, deviation);
      write(parameterOf(node, 'weight'), tf.sum(tf.mul(dy, normal), [0, 1, 2]));
      write(parameterOf(node, 'bias'), tf.sum(dy, [0, 1, 2]));
      const inner = tf.sub(
        tf.sub(dy, tf.mean(dy, [0, 1, 2])),
        tf.mul(normal, tf.mean(tf.mul(dy, normal), [0, 1, 2])),
      );
      return [tf.mul(tf.div(read(node, 'weight'), deviation), inner)];
    }
    case 'relu':
      return [tf.mul(dy, tf.step(values[node.index]))];
    case 'add':
      return [dy, dy];
    case 'maxPool':
    case 'averagePool': {
      const kernel = node.op === 'maxPool' ? 'MaxPoolGrad' : 'AvgPoolGrad';
      const attributes = { filterSize: node.kernel, strides: node.stride, pad: 'valid' };
      return [tf.engine().runKernel(kernel, { dy, input: x, output: values[node.index] }, attributes)];
    }
    case 'flatten':
      return [dy];
    default:
      throw new Error(`no plain ${node.op}`);
  }
}

/** [outputs, kernel, kernel, inputs]. */
function filterGradient(
  x: Map4D,
  dy: Map4D,
  kernel: number,
  { stride, padding }: { stride: number; padding: number },
) {
  const around: [number, number] = [padding, padding];
  const padded = tf.pad(x, [[0, 0], around, around, [0, 0]]);
  const gradient = tf.conv2d(
    tf.transpose<Map4D>(padded, [3, 1, 2, 0]),
    tf.transpose<Map4D>(dy, [1, 2, 0, 3]),
    1,
    'valid',
    'NHWC',
    stride,
  );
  const [inputs, , , outputs] = gradient.shape;
  return tf.transpose(tf.slice(gradient, [0, 0, 0, 0], [inputs, kernel, kernel, outputs]), [3, 1, 2, 0]);
}
