// Safetensors files that are damaged, or whole and wrong: tensors are views of the file as long as they say, or refused.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { sizeOf } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { decodeSafetensors, type Safetensors } from '../../src/training/safetensors.ts';
import { encodeWeights, readInitialWeights } from '../../src/training/weights-file.ts';
import { damaged, damages } from './bytes.ts';
import { outcomeOf, Tally } from './outcome.ts';
import { edited, edits } from './trees.ts';

const GRAPH = buildModel({ name: 'resnet8', width: 0.01, classes: 10 });
const WHOLE = encodeWeights(
  GRAPH,
  {
    weights: Float32Array.from({ length: GRAPH.parameterLength }, (_, i) => Math.cos(i)),
    statistics: Float32Array.from({ length: GRAPH.statisticsLength }, (_, i) => i),
  },
  { width: 0.01, normalisation: { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] } },
);

const LENGTH_BYTES = 8;
const headerEnd = LENGTH_BYTES + Number(new DataView(WHOLE.buffer).getBigUint64(0, true));
const HEADER = Buffer.from(WHOLE.subarray(LENGTH_BYTES, headerEnd)).toString().trimEnd();
const DATA = WHOLE.subarray(headerEnd);

/** A file of any header, whose length is right. */
function withHeader(header: Uint8Array): Uint8Array {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(header.length));
  return Uint8Array.from(Buffer.concat([length, header, DATA]));
}

const text = (header: string) => withHeader(Buffer.from(header));

/** That JSON.parse takes in its stride, and a reader perhaps not. */
const CURIOUS = [
  ...[
    '{}',
    '{"a":{}}',
    '{"__metadata__":null}',
    '{"__metadata__":[]}',
    '{"a":1,"a":2}',
    '[]',
    '"',
    '',
    ' {}',
    '{"a"',
  ],
  `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
  `{"a":${'{"b":'.repeat(50_000)}1${'}'.repeat(50_000)}}`,
  `{"${'n'.repeat(100_000)}":{"dtype":"U8","shape":[${DATA.length}],"data_offsets":[0,${DATA.length}]}}`,
  `{"a":{"dtype":"U8","shape":[${DATA.length}${',1'.repeat(5000)}],"data_offsets":[0,${DATA.length}]}}`,
  `{"a":{"dtype":"U8","shape":[1e15,1e15,1e15,0],"data_offsets":[0,0]}}`,
  `{"a":{"dtype":"U8","shape":[0,1e300],"data_offsets":[0,0]}}`,
  `{"a":{"dtype":"F32","shape":[9007199254740991],"data_offsets":[0,9007199254740991]}}`,
  `{"a":{"dtype":"toString","shape":[],"data_offsets":[0,1]}}`,
  `{"\\ud800":{"dtype":"U8","shape":[${DATA.length}],"data_offsets":[0,${DATA.length}]}}`,
  HEADER.replace('{', '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'),
  HEADER.replace('F32', 'F64'),
  `{"__proto__":{},${HEADER.slice(1)}`,
];

interface Source {
  readonly kind: string;
  /** What a report of a failure shows. */
  readonly change: unknown;
  readonly bytes: () => Uint8Array;
}

const sources: fc.Arbitrary<Source> = fc.oneof(
  damages.map((change) => ({ kind: 'damaged', change, bytes: () => damaged(WHOLE, change) })),
  damages.map((change) => {
    return { kind: 'damaged header', change, bytes: () => withHeader(damaged(Buffer.from(HEADER), change)) };
  }),
  edits(2).map((change) => {
    const header = () => JSON.stringify(edited(JSON.parse(HEADER), change)) ?? '';
    return { kind: 'other header', change, bytes: () => text(header()) };
  }),
  fc.nat(CURIOUS.length - 1).map((change) => {
    return { kind: 'curious header', change, bytes: () => text(CURIOUS[change]) };
  }),
);

/** @param folder for files. */
export async function fuzzSafetensors(runs: number, seed: number, folder: string): Promise<Tally> {
  const tally = new Tally();
  const file = join(folder, 'weights.safetensors');
  const property = fc.asyncProperty(sources, async ({ kind, bytes: make }) => {
    const bytes = make();
    const outcome = await outcomeOf([UsageError], () => decodeSafetensors(bytes));
    tally.count(kind, outcome);
    if ('value' in outcome) checkTensors(outcome.value, bytes);
    writeFileSync(file, bytes);
    const read = await outcomeOf([UsageError], () => readInitialWeights(file, GRAPH));
    if ('refusal' in read) return;
    expect(outcome).toHaveProperty('value');
    expect(read.value.weights).toHaveLength(GRAPH.parameterLength);
    expect(read.value.statistics).toHaveLength(GRAPH.statisticsLength);
  });
  await fc.assert(property, { numRuns: runs, seed });
  return tally;
}

/** The first number of a dtype's name. */
const ELEMENT_BITS = /\d+/;

function checkTensors({ tensors }: Safetensors, { buffer }: Uint8Array): void {
  let bytes = 0;
  for (const { dtype, shape, data } of tensors.values()) {
    expect(data.buffer).toBe(buffer);
    const bits = dtype === 'BOOL' ? 8 : Number(ELEMENT_BITS.exec(dtype)?.[0]);
    expect(data).toHaveLength((sizeOf(shape) * bits) / 8);
    bytes += data.length;
  }
  const header = Number(new DataView(buffer).getBigUint64(0, true));
  expect(LENGTH_BYTES + header + bytes).toBe(buffer.byteLength);
}
