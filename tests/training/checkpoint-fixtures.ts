// A made-up run between two of its steps, with a value for every field that a checkpoint has; and the bytes of one.

import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import {
  type Checkpoint,
  type CheckpointContent,
  encodeCheckpoint,
  hashConfig,
  readCheckpoint,
} from '../../src/training/checkpoint.ts';
import { metrics, selection } from './fixtures.ts';

export interface MadeUpRun {
  /** Complete epochs. */
  readonly epoch?: number;
  readonly step?: number;
  readonly parameters?: number;
  readonly statistics?: number;
  readonly ranks?: number;
  /** With S and A. */
  readonly analysed?: boolean;
}

/** As the workers share them; zeros by default. */
export function shared(length: number, value?: (i: number) => number): Float32Array {
  const vector = new Float32Array(new SharedArrayBuffer(4 * length));
  if (value) for (let i = 0; i < length; i++) vector[i] = value(i);
  return vector;
}

export function madeUpContent(run: MadeUpRun = {}): CheckpointContent {
  const { epoch = 2, step = 3, parameters = 1024, statistics = 36, ranks = 2, analysed = true } = run;
  const epochs = Array.from({ length: epoch }, (_, index) => index + 1);
  const vector = (seed: number, length = parameters) => shared(length, (i) => Math.sin(seed + i));
  const total = { lossSum: 12.625, correct: 7, samples: 24, iterations: step, skipped: 0, skippedInARow: 0 };
  return {
    config: 'name: "made up – 漢🙂"\nmodel: resnet8\n',
    trainedOn: { normalisation: { mean: [0.1, 0.2, 0.3], std: [1, 1 / 3, 5e-324] }, labels: 'ab12' },
    progress: {
      history: epochs.map((epoch) => ({ ...metrics, epoch, trainLoss: 0.1 + epoch / 3, testLoss: null })),
      timings: epochs.map((epoch) => ({ epoch, seconds: 1.1 * epoch, imagesPerSecond: 2 ** 40 + 0.5 })),
      selections: [selection, { ...selection, ratio: 0.25, degenerate: 'all layers have the same value' }],
      measured: [
        {
          name: 'conv1',
          kind: 'conv2d',
          sums: {
            netSum: Number.MIN_VALUE,
            totalSum: Number.POSITIVE_INFINITY,
            ratioSum: -0,
            size: 432,
            dead: 3,
          },
        },
      ],
      step,
      totals: Array.from({ length: ranks }, (_, rank) =>
        rank === 0 ? total : { ...total, lossSum: Number.NaN, waitedMilliseconds: 2 ** 53 - 1 },
      ),
      trainingSeconds: 1e-300,
      epochSeconds: 0.1,
      seconds: 4294967296,
      engine: 'wasm (4.22.0)',
    },
    vectors: {
      weights: vector(1),
      velocity: vector(2),
      statistics: Array.from({ length: ranks }, (_, rank) => vector(3 + rank, statistics)),
      ...(analysed && { accumulators: { S: vector(8), A: vector(9) } }),
    },
  };
}

export const encoded = (content: CheckpointContent): Buffer => Buffer.concat([...encodeCheckpoint(content)]);

/** Of a file that is made of the bytes. */
export async function readBytes(file: string, bytes: Uint8Array): Promise<Checkpoint> {
  writeFileSync(file, bytes);
  return readCheckpoint(file);
}

/** What reading a content's file gives. */
export const expected = (content: CheckpointContent) => ({
  format: 'gradamp-checkpoint',
  version: 2,
  config: content.config,
  configHash: hashConfig(content.config),
  trainedOn: content.trainedOn,
  progress: content.progress,
  vectors: content.vectors,
});

/** Bytes of the checksum, with its key. */
export const TRAILER = 43;

/** The same bytes with the checksum that they should have. */
export function withChecksum(bytes: Buffer): Buffer {
  const front = bytes.subarray(0, Math.max(0, bytes.length - TRAILER));
  const digest = createHash('sha256').update(front).digest();
  return Buffer.concat([front, Buffer.from('\xa8checksum\xc4\x20', 'latin1'), digest]);
}
