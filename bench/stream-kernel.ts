// The bandwidth floor of an update: WebAssembly that reads and writes as many streams of memory as the update does and
// computes next to nothing. Written with the assembler of the wasm engine.

import {
  addF32x4,
  advance,
  assemble,
  get,
  i32,
  load,
  repeatUntil,
  set,
  store,
} from '../src/engines/tfjs/assembler.ts';

const VECTOR_BYTES = 16;
/** A cache line at once. */
const UNROLLED = 4;
const PAGE_BYTES = 65_536;
const LARGEST_PAGES = 65_535;

export interface Streams {
  /** Read and written back: weights, velocity, S, A. */
  readonly updated: number;
  /** Read only: the workers' gradients. */
  readonly read: number;
  /** float32 in each: a multiple of 16. */
  readonly length: number;
}

/** Bytes that one pass moves. */
export const trafficOf = ({ updated, read, length }: Streams): number => 4 * length * (2 * updated + read);

/** Whether one thread's streams can be held in one WebAssembly memory. */
export const fits = (streams: Streams): boolean => pagesOf(streams) <= LARGEST_PAGES;

const pagesOfStream = ({ length }: Streams) => Math.ceil((4 * length) / PAGE_BYTES);
const pagesOf = (streams: Streams) => (streams.updated + streams.read) * pagesOfStream(streams);

/**
 * Allocates the streams, on a page boundary each as the store's vectors, and touches them.
 * @returns one pass over all of them: every updated stream has the sum of those that are read added.
 */
export function streamKernel(streams: Streams): {
  readonly pass: () => void;
  readonly memory: WebAssembly.Memory;
} {
  const { updated, read, length } = streams;
  const pages = pagesOf(streams);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  new Float32Array(memory.buffer).fill(1e-3);
  const stride = pagesOfStream(streams) * PAGE_BYTES;
  const [position, end, sum] = [0, 1, 2];
  const loadFrom = (stream: number, vector: number) =>
    load(get(position), stream * stride + vector * VECTOR_BYTES);
  const body = repeatUntil(position, end, [
    ...Array.from({ length: UNROLLED }, (_, vector) => {
      const readStreams = Array.from({ length: read }, (_, i) => loadFrom(updated + i, vector));
      const updates = Array.from({ length: updated }, (_, stream) =>
        store(
          get(position),
          stream * stride + vector * VECTOR_BYTES,
          addF32x4(loadFrom(stream, vector), get(sum)),
        ),
      );
      return [...set(sum, readStreams.reduce(addF32x4)), ...updates.flat()];
    }).flat(),
    ...advance(position, i32(UNROLLED * VECTOR_BYTES)),
  ]);
  const { stream } = assemble([{ name: 'stream', parameters: 2, i32Locals: 0, v128Locals: 1, body }], memory);
  return { pass: () => stream(0, 4 * length), memory };
}
