// Checkpoints that are damaged, or whole and wrong: one that is read has what it says, every other is refused.

import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { configDocument, parseConfig } from '../../src/config/load.ts';
import { UsageError } from '../../src/errors.ts';
import { buildModel } from '../../src/models/index.ts';
import { resumeFrom } from '../../src/parallel/resumption.ts';
import {
  type Checkpoint,
  type CheckpointContent,
  CheckpointError,
  encodeCheckpoint,
  readCheckpoint,
} from '../../src/training/checkpoint.ts';
import { testConfig } from '../parallel/fixtures.ts';
import { metrics, selection } from '../training/fixtures.ts';
import { damaged, damages } from './bytes.ts';
import { outcomeOf, Tally } from './outcome.ts';
import { edited, edits, junk } from './trees.ts';

const CONFIG = testConfig({
  model: { name: 'resnet8', width: 0.01 },
  devices: ['cpu', 'cpu'],
  schedule: [[9, 0.1, true, 2]],
});
const GRAPH = buildModel({ ...CONFIG.model, classes: 10 });
const CHECKSUM_BYTES = 32;

const numbers = (length: number) => Float32Array.from({ length }, (_, i) => Math.cos(i));

/** In an analysis, by two workers. */
const CONTENT: CheckpointContent = {
  config: configDocument(CONFIG),
  trainedOn: { normalisation: { mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] }, labels: 'ab'.repeat(32) },
  progress: {
    history: [1, 2].map((epoch) => ({ ...metrics, epoch })),
    timings: [1, 2].map((epoch) => ({ epoch, seconds: 1.5, imagesPerSecond: 800 })),
    selections: [{ ...selection, epoch: 2 }],
    measured: selection.layers.map(({ name, kind, size }) => {
      return { name, kind, sums: { netSum: 0.5, totalSum: 1.5, ratioSum: 20, size, dead: 1 } };
    }),
    step: 3,
    totals: [0, 1].map(() => {
      return { lossSum: 4.5, correct: 7, samples: 24, iterations: 3, skipped: 0, skippedInARow: 0 };
    }),
    trainingSeconds: 3,
    epochSeconds: 0.5,
    seconds: 4.5,
    engine: 'wasm',
  },
  vectors: {
    weights: numbers(GRAPH.parameterLength),
    velocity: numbers(GRAPH.parameterLength),
    statistics: [numbers(GRAPH.statisticsLength), numbers(GRAPH.statisticsLength)],
    accumulators: { S: numbers(GRAPH.parameterLength), A: numbers(GRAPH.parameterLength) },
  },
};

const encode = (content: CheckpointContent): Uint8Array =>
  Uint8Array.from(Buffer.concat([...encodeCheckpoint(content)]));
const WHOLE = encode(CONTENT);

/** The same with the checksum of what it is now. */
function summed(bytes: Uint8Array): Uint8Array {
  const entry = WHOLE.subarray(WHOLE.length - CHECKSUM_BYTES - 11, WHOLE.length - CHECKSUM_BYTES);
  const content = bytes.subarray(0, Math.max(0, bytes.length - CHECKSUM_BYTES - entry.length));
  const hash = createHash('sha256').update(content).digest();
  return Uint8Array.from(Buffer.concat([content, entry, hash]));
}

interface Source {
  readonly kind: string;
  /** What a report of a failure shows. */
  readonly change: unknown;
  readonly bytes: () => Uint8Array;
}

interface Lengths {
  readonly weights: number;
  readonly velocity: number;
  readonly S: number;
  readonly A: number;
  readonly statistics: readonly number[];
}

const length = fc.constantFrom(0, 1, 5, GRAPH.parameterLength, GRAPH.parameterLength + 1);
const alike = length.map((same) => ({ weights: same, velocity: same, S: same, A: same }));
const statistics = fc.array(fc.constantFrom(0, 1, GRAPH.statisticsLength), { minLength: 1, maxLength: 4 });
const lengths: fc.Arbitrary<Lengths> = fc
  .tuple(fc.oneof(alike, fc.record({ weights: length, velocity: length, S: length, A: length })), statistics)
  .map(([parameters, statistics]) => ({ ...parameters, statistics }));

const sources: fc.Arbitrary<Source> = fc.oneof(
  damages.map((change) => ({ kind: 'damaged', change, bytes: () => damaged(WHOLE, change) })),
  damages.map((change) => {
    return { kind: 'damaged and summed', change, bytes: () => summed(damaged(WHOLE, change)) };
  }),
  edits(2).map((change) => ({ kind: 'other progress', change, bytes: () => otherProgress(change) })),
  fc.oneof(fc.string(), junk.map(String), fc.constant(CONTENT.config)).map((change) => {
    return { kind: 'other config', change, bytes: () => encode({ ...CONTENT, config: change }) };
  }),
  lengths.map((change) => ({ kind: 'other vectors', change, bytes: () => otherVectors(change) })),
);

function otherProgress(changes: Parameters<typeof edited>[1]): Uint8Array {
  const { progress, trainedOn } = CONTENT;
  return encode({ ...CONTENT, ...(edited({ progress, trainedOn }, changes) as typeof CONTENT) });
}

function otherVectors({ weights, velocity, S, A, statistics }: Lengths): Uint8Array {
  const vectors = {
    ...{ weights: numbers(weights), velocity: numbers(velocity), statistics: statistics.map(numbers) },
    accumulators: { S: numbers(S), A: numbers(A) },
  };
  return encode({ ...CONTENT, vectors });
}

/** @param folder for files. */
export async function fuzzCheckpoints(runs: number, seed: number, folder: string): Promise<Tally> {
  const tally = new Tally();
  const file = join(folder, 'checkpoint.msgpack');
  const property = fc.asyncProperty(sources, async ({ kind, bytes: make }) => {
    const bytes = make();
    writeFileSync(file, bytes);
    const outcome = await outcomeOf([CheckpointError], () => readCheckpoint(file));
    tally.count(kind, outcome);
    if ('refusal' in outcome) return;
    checkVectors(outcome.value, bytes.length);
    await outcomeOf([UsageError], () => resume(outcome.value));
  });
  await fc.assert(property, { numRuns: runs, seed });
  return tally;
}

function checkVectors({ vectors, progress }: Checkpoint, size: number): void {
  const { weights, velocity, statistics, accumulators } = vectors;
  const parameters = [velocity, accumulators?.S, accumulators?.A].filter((vector) => vector !== undefined);
  for (const { length } of parameters) expect(length).toBe(weights.length);
  for (const { length } of statistics) expect(length).toBe(statistics[0].length);
  const all = [weights, ...parameters, ...statistics];
  expect(all.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(size);
  expect(progress.timings).toHaveLength(progress.history.length);
}

function resume({ config, trainedOn, progress, vectors }: Checkpoint): void {
  const origin = { source: 'file', config: parseConfig(config, 'file'), state: { progress, vectors } };
  resumeFrom(origin, CONFIG, { graph: GRAPH, trainedOn });
}
