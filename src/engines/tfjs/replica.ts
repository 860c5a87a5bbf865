// A replica of a graph on a tfjs backend: walks the nodes forward, then backward, and frees every tensor as soon as
// its last reader is done. No tape: the steps themselves are in operations.ts.

import * as tf from '@tensorflow/tfjs-core';
import { type Assembler, createAssembler } from '../../data/augmentation.ts';
import type { Batch } from '../../data/dataset.ts';
import type { LayerFactors } from '../../models/candidates.ts';
import { sizeOf } from '../../models/graph.ts';
import { type Liveness, liveness } from '../../models/liveness.ts';
import {
  checkReplicaOptions,
  type EvaluationResult,
  IMAGE_SHAPE,
  type PassResult,
  type Replica,
  type ReplicaOptions,
} from '../engine.ts';
import { OperationTimer } from '../operation-timer.ts';
import type { Backend } from './backend.ts';
import type { Map4D, Shape4D } from './kernels.ts';
import { softmaxCrossEntropy } from './loss.ts';
import { backward, forward, type Pass, passNothing, uploadFilters } from './operations.ts';

/** Tensors by node. */
type Values = Map<number, Map4D>;

/** A vector is kept as a map of one position. */
const shapeOf = (samples: number, [...shape]: readonly number[]): Shape4D =>
  shape.length === 3 ? [samples, shape[0], shape[1], shape[2]] : [samples, 1, 1, shape[0]];

export class TfjsReplica implements Replica {
  readonly #backend: Backend;
  readonly #options: ReplicaOptions;
  readonly #liveness: Liveness;
  readonly #assemble: Assembler;
  #images = new Float32Array();
  #labels = new Int32Array();

  constructor(backend: Backend, options: ReplicaOptions) {
    checkReplicaOptions(options);
    this.#backend = backend;
    this.#options = options;
    this.#liveness = liveness(options.graph);
    this.#assemble = createAssembler(options.normalisation);
  }

  gradient(passes: readonly Batch[], batchSize: number, backpropagated?: LayerFactors): PassResult {
    this.#backend.activate();
    const { graph, allGather } = this.#options;
    this.#options.gradient.fill(0);
    const total = { lossSum: 0, correct: 0 };
    tf.tidy(() => {
      const timer = new OperationTimer(this.#options.profile);
      const filters = uploadFilters(this.#options.graph, this.#options.parameters);
      timer.ends({ name: 'weights', op: 'weights' }, 'forward');
      for (const batch of passes) {
        if (batch.indices.length === 0) {
          if (allGather) passNothing(graph, this.#options, allGather);
          continue;
        }
        const pass = { vectors: this.#options, filters, batchStatistics: new Map(), allGather };
        const { values, labels } = this.#forward(batch, pass, this.#liveness.afterForward, timer);
        const loss = this.#loss(values, labels, {
          weight: 1 / batchSize,
          smoothing: this.#options.labelSmoothing ?? 0,
        });
        timer.ends(this.#options.graph.nodes.at(-1)!, 'forward');
        this.#backward(values, loss.gradient, pass, timer, backpropagated);
        total.lossSum += loss.lossSum;
        total.correct += loss.correct;
      }
    });
    return total;
  }

  evaluate(batch: Batch): EvaluationResult {
    this.#backend.activate();
    if (batch.indices.length === 0) return { lossSum: 0, correct: 0, predictions: new Int32Array() };
    return tf.tidy(() => {
      const filters = uploadFilters(this.#options.graph, this.#options.parameters);
      const pass = { vectors: this.#options, filters };
      const { values, labels } = this.#forward(batch, pass, this.#liveness.afterEvaluation);
      const { lossSum, correct, predictions } = this.#loss(values, labels, { weight: 1, smoothing: 0 });
      return { lossSum, correct, predictions };
    });
  }

  memory(): { tensors: number; bytes: number } {
    this.#backend.activate();
    const { numTensors, numBytes } = tf.memory();
    return { tensors: numTensors, bytes: numBytes };
  }

  /** Nothing outlives a call. */
  dispose(): void {}

  /** Computes every node but the loss. What the logits' reader frees stays: the loss reads it. */
  #forward(
    batch: Batch,
    pass: Pass,
    freed: Liveness['afterForward'],
    timer?: OperationTimer,
  ): { values: Values; labels: Int32Array } {
    const { nodes } = this.#options.graph;
    const { images, labels } = this.#upload(batch);
    const values: Values = new Map([[0, images]]);
    timer?.ends({ name: 'batch', op: 'assemble' }, 'forward');
    for (const node of nodes.slice(1, -1)) {
      const inputs = node.inputs.map((input) => values.get(input)!);
      values.set(node.index, forward(node, inputs, pass));
      free(values, freed[node.index]);
      timer?.ends(node, 'forward');
    }
    return { values, labels };
  }

  #loss(values: Values, labels: Int32Array, options: { weight: number; smoothing: number }) {
    const { nodes, classes } = this.#options.graph;
    const logits = values.get(nodes.length - 2)!;
    return softmaxCrossEntropy(logits.dataSync(), labels, classes, options);
  }

  #backward(
    values: Values,
    logitGradient: Float32Array,
    pass: Pass,
    timer: OperationTimer,
    backpropagated?: LayerFactors,
  ): void {
    const { nodes } = this.#options.graph;
    const samples = values.get(nodes.length - 2)!.shape[0];
    const logits = nodes[nodes.length - 2];
    const gradients: Values = new Map([
      [logits.index, tf.tensor4d(logitGradient, shapeOf(samples, logits.shape))],
    ]);
    free(values, this.#liveness.afterBackward[nodes.length - 1]);
    for (const node of nodes.slice(1, -1).reverse()) {
      const factor = node.layer && backpropagated?.get(node.layer.name);
      if (factor !== undefined) multiply(gradients, node.index, factor);
      const dy = gradients.get(node.index)!;
      const step = {
        node,
        dy,
        inputs: node.inputs.map((input) => values.get(input)),
        inputShapes: node.inputs.map((input) => shapeOf(samples, nodes[input].shape)),
        output: values.get(node.index),
        // The image has no use for a gradient.
        propagate: node.inputs.some((input) => nodes[input].op !== 'input'),
      };
      const inputGradients = backward(step, pass);
      free(gradients, [node.index]);
      for (const [i, gradient] of inputGradients.entries()) addTo(gradients, node.inputs[i], gradient);
      free(values, this.#liveness.afterBackward[node.index]);
      timer.ends(node, 'backward');
    }
    free(gradients, [0]);
  }

  #upload(batch: Batch): { images: Map4D; labels: Int32Array } {
    const samples = batch.indices.length;
    if (this.#labels.length < samples) {
      this.#images = new Float32Array(samples * sizeOf(IMAGE_SHAPE));
      this.#labels = new Int32Array(samples);
    }
    this.#assemble(batch, this.#images, this.#labels);
    const pixels = this.#images.subarray(0, samples * sizeOf(IMAGE_SHAPE));
    const images = tf.tensor4d(pixels, shapeOf(samples, IMAGE_SHAPE));
    return { images, labels: this.#labels.subarray(0, samples) };
  }
}

function free(values: Values, nodes: readonly number[]): void {
  for (const node of nodes) {
    values.get(node)?.dispose();
    values.delete(node);
  }
}

function multiply(gradients: Values, node: number, factor: number): void {
  const gradient = gradients.get(node)!;
  gradients.set(node, tf.mul(gradient, factor));
  gradient.dispose();
}

/** The gradient of a value with several readers is the sum of theirs. */
function addTo(gradients: Values, node: number, gradient: Map4D): void {
  const other = gradients.get(node);
  gradients.set(node, other ? tf.add(other, gradient) : gradient);
  if (other) {
    other.dispose();
    gradient.dispose();
  }
}
