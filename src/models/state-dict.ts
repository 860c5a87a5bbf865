// A model's state as PyTorch names and lays it out (`state_dict`), to and from the flat vectors of a graph.

import { nearest, oneLine, show } from '../config/messages.ts';
import { UsageError } from '../errors.ts';
import type { Tensor } from '../training/safetensors.ts';
import { type Graph, sizeOf } from './graph.ts';

export interface ModelState {
  /** Float32 [graph.parameterLength], padding 0. */
  readonly weights: Float32Array;
  /** Running statistics of the batch norms, float32 [graph.statisticsLength]. */
  readonly statistics: Float32Array;
}

/** One tensor of the state, and where its numbers lie. */
export interface StateTensor {
  readonly name: string;
  /** As PyTorch states it. */
  readonly shape: readonly number[];
  readonly vector: keyof ModelState;
  /** First element in that vector. */
  readonly offset: number;
}

/** What PyTorch's batch norms count besides: an int64 scalar each, that only momentum None makes use of. */
const BATCH_COUNT = 'num_batches_tracked';

/** All tensors of a model's state, in PyTorch's order: parameters, and behind those of a batch norm its statistics. */
export function stateTensors(graph: Graph): readonly StateTensor[] {
  return graph.nodes.flatMap((node) => {
    if (!node.layer) return [];
    const { name: layer, parameters } = node.layer;
    const tensors: StateTensor[] = parameters.map(({ name, shape, offset }) => ({
      ...{ name, shape, offset },
      vector: 'weights',
    }));
    if (node.op === 'batchNorm') {
      const { shape } = parameters[0];
      for (const [index, name] of ['running_mean', 'running_var'].entries()) {
        const offset = node.statisticsOffset + index * sizeOf(shape);
        tensors.push({ name: `${layer}.${name}`, shape, vector: 'statistics', offset });
      }
    }
    return tensors;
  });
}

/** Float32 tensors by name, in PyTorch's order; convolution weights as [O, I, kh, kw], contiguous. */
export function toStateDict(graph: Graph, state: ModelState): ReadonlyMap<string, Tensor> {
  return new Map(
    stateTensors(graph).map(({ name, shape, vector, offset }) => {
      const segment = state[vector].subarray(offset, offset + sizeOf(shape));
      const values = isFilter(shape) ? channelsFirst(segment, shape) : segment;
      const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      return [name, { dtype: 'F32', shape, data }];
    }),
  );
}

/**
 * The reverse of `toStateDict`. What PyTorch's batch norms count besides may be there, and is left out.
 * @throws UsageError, one line with the tensor's name, for a tensor that the model does not have, that is missing, or that
 *   has another dtype or shape.
 */
export function fromStateDict(graph: Graph, tensors: ReadonlyMap<string, Tensor>): ModelState {
  checkTensors(graph, tensors);
  const state: ModelState = {
    weights: new Float32Array(graph.parameterLength),
    statistics: new Float32Array(graph.statisticsLength),
  };
  for (const { name, shape, vector, offset } of stateTensors(graph)) {
    // Copied, since the bytes may lie at any offset.
    const values = new Float32Array(new Uint8Array(tensors.get(name)!.data).buffer);
    state[vector].set(isFilter(shape) ? channelsLast(values, shape) : values, offset);
  }
  return state;
}

/** Of a convolution. */
const isFilter = (shape: readonly number[]) => shape.length === 4;

/** Memory's [O, kh, kw, I] to [O, I, kh, kw]. @param shape the latter. */
const channelsFirst = (values: Float32Array, [outputs, inputs, height, width]: readonly number[]) =>
  transpose(values, outputs, height * width, inputs);

/** [O, I, kh, kw] to memory's [O, kh, kw, I]. @param shape the former. */
const channelsLast = (values: Float32Array, [outputs, inputs, height, width]: readonly number[]) =>
  transpose(values, outputs, inputs, height * width);

/** [planes, rows, columns] to [planes, columns, rows]. */
function transpose(values: Float32Array, planes: number, rows: number, columns: number): Float32Array {
  const transposed = new Float32Array(values.length);
  for (let plane = 0; plane < planes; plane++) {
    const start = plane * rows * columns;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        transposed[start + column * rows + row] = values[start + row * columns + column];
      }
    }
  }
  return transposed;
}

interface ExpectedTensor {
  readonly dtype: Tensor['dtype'];
  readonly shape: readonly number[];
  readonly optional?: boolean;
}

/** That a message shows in full. */
const LONGEST_NAME = 100;

/** What a file may hold, by name. */
function expectedTensors(graph: Graph): ReadonlyMap<string, ExpectedTensor> {
  const batchNorms = graph.layers.filter(({ kind }) => kind === 'batchNorm');
  return new Map<string, ExpectedTensor>([
    ...stateTensors(graph).map(({ name, shape }) => [name, { dtype: 'F32', shape }] as const),
    ...batchNorms.map(
      ({ name }) => [`${name}.${BATCH_COUNT}`, { dtype: 'I64', shape: [], optional: true }] as const,
    ),
  ]);
}

/** Unknown names come first: one that is misspelt is missing too. */
function checkTensors(graph: Graph, tensors: ReadonlyMap<string, Tensor>): void {
  const expected = expectedTensors(graph);
  for (const [name, tensor] of tensors) {
    if (expected.has(name)) continue;
    // Cut, since it may be as long as a header.
    const near = nearest(name.slice(0, LONGEST_NAME), [...expected.keys()]);
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    const title = /^[\w.-]+$/.test(name) && name.length <= LONGEST_NAME ? name : oneLine(show(name));
    throw new UsageError(
      `${title}: expected only tensors of ${graph.name}, found ${describe(tensor)} that it does not have${hint}`,
    );
  }
  for (const [name, { optional, ...wanted }] of expected) {
    const tensor = tensors.get(name);
    if (tensor ? describe(tensor) === describe(wanted) : optional) continue;
    const found = tensor ? describe(tensor) : 'none';
    throw new UsageError(`${name}: expected ${describe(wanted)} for ${graph.name}, found ${found}`);
  }
}

/** More dimensions than any layer's are counted: a shape may be as long as a header. */
function describe({ dtype, shape }: Pick<Tensor, 'dtype' | 'shape'>): string {
  return shape.length > 8 ? `${dtype} of ${shape.length} dimensions` : `${dtype} [${shape.join(', ')}]`;
}
