// The trained numbers of a run in one file: weights, momentum and running statistics, with the config and the training
// split they belong to.

import { createHash } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Packr } from 'msgpackr';
import type { Dataset, Normalisation } from '../data/dataset.ts';

const FORMAT = 'gradamp-checkpoint';

/** The training split that the weights have learnt from. */
export interface TrainedOn {
  /** What images are shifted and scaled by before these weights see them. */
  readonly normalisation: Normalisation;
  /** SHA-256 of the labels in their order, as hexadecimal digits. */
  readonly labels: string;
}

export function trainedOn({ train, normalisation }: Dataset): TrainedOn {
  return { normalisation, labels: createHash('sha256').update(train.labels).digest('hex') };
}

export interface Checkpoint {
  readonly format: typeof FORMAT;
  readonly version: 1;
  /** YAML of the resolved config. */
  readonly config: string;
  readonly trainedOn: TrainedOn;
  /** Complete epochs. */
  readonly epoch: number;
  /** Steps taken in the epoch after those. */
  readonly step: number;
  /** Laid out by the model's graph: [graph.parameterLength]. */
  readonly weights: Float32Array;
  readonly velocity: Float32Array;
  /** [graph.statisticsLength], the mean over the workers. */
  readonly statistics: Float32Array;
}

/** In the file the vectors are bytes, little-endian: copied at the speed of memory, not number by number. */
const VECTORS = ['weights', 'velocity', 'statistics'] as const;
const packr = new Packr({ useRecords: false });

/** Writes beside, flushes to the disk, then renames: a reader sees the old file or the new one, whole. */
export async function writeCheckpoint(
  file: string,
  checkpoint: Omit<Checkpoint, 'format' | 'version'>,
): Promise<void> {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  const vectors = Object.fromEntries(VECTORS.map((name) => [name, bytes(checkpoint[name])]));
  const content = packr.pack({ format: FORMAT, version: 1, ...checkpoint, ...vectors });
  const partial = `${file}.tmp`;
  await writeDurably(partial, content);
  await rename(partial, file);
  await syncFolder(dirname(file));
}

async function writeDurably(file: string, content: Uint8Array): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a rename last. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @throws Error where the file is no checkpoint of this version. */
export async function readCheckpoint(file: string): Promise<Checkpoint> {
  const content = packr.unpack(await readFile(file));
  if (content?.format !== FORMAT || content.version !== 1) {
    throw new Error(`${file}: expected a gradamp checkpoint of version 1`);
  }
  // Copied, since the bytes may lie at any offset.
  const vector = (bytes: Uint8Array) => new Float32Array(Uint8Array.from(bytes).buffer);
  return { ...content, ...Object.fromEntries(VECTORS.map((name) => [name, vector(content[name])])) };
}
