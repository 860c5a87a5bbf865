// All that a run remembers, in one file: a MessagePack map whose last entry is a checksum of what is in front of it.
// What may stand in it is checkpoint-structure.ts's; which files a run keeps, checkpoints.ts's.

import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Dataset, Normalisation } from '../data/dataset.ts';
import { checkStructure, StructureError } from './checkpoint-structure.ts';
import { writeDurably } from './durable.ts';
import { BYTES_HEADER, Packer, UnpackError, Unpacker } from './msgpack.ts';
import type { RunProgress, RunVectors } from './run-state.ts';

const FORMAT = 'gradamp-checkpoint';
const VERSION = 2;

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
  readonly version: typeof VERSION;
  /** YAML of the resolved config. */
  readonly config: string;
  /** `sha256:...` of it. */
  readonly configHash: string;
  readonly trainedOn: TrainedOn;
  readonly progress: RunProgress;
  readonly vectors: RunVectors;
}

/** What does not follow from the rest. */
export type CheckpointContent = Pick<Checkpoint, 'config' | 'trainedOn' | 'progress' | 'vectors'>;

/** The file is no checkpoint that this version reads; the message is one line that says why, without its name. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

/** `sha256:` and 64 hexadecimal digits, of a config's YAML. */
export const hashConfig = (config: string): string =>
  `sha256:${createHash('sha256').update(config).digest('hex')}`;

/** So much is hashed, written or read at a time: 1.4 ms of hashing, for which the event loop waits. */
export const CHUNK_BYTES = 2 ** 21;
/** Reads under way at once: as many as node has threads for them. What costs most is memory that is touched first. */
const READS = 4;

/** Its header, `checksum`, a header of two bytes, SHA-256. */
const CHECKSUM_ENTRY = Buffer.from('\xa8checksum\xc4\x20', 'latin1');
const TRAILER_BYTES = CHECKSUM_ENTRY.length + 32;

/**
 * Beside the old file, then in its place: see `writeDurably`. Vectors are written from where they are, and must not
 * change before this is done.
 * @returns size of the file.
 * @throws what the system throws; the old file is as it was.
 */
export async function writeCheckpoint(file: string, content: CheckpointContent): Promise<{ bytes: number }> {
  let bytes = 0;
  function* counted() {
    for (const chunk of encodeCheckpoint(content)) {
      bytes += chunk.length;
      yield chunk;
    }
  }
  await writeDurably(file, counted());
  return { bytes };
}

/** The bytes of the file, in chunks of at most CHUNK_BYTES: views of the vectors, hashed when they are asked for. */
export function* encodeCheckpoint(content: CheckpointContent): Generator<Uint8Array> {
  const hash = createHash('sha256');
  for (const part of layOut(content)) {
    for (let start = 0; start < part.length; start += CHUNK_BYTES) {
      const chunk = part.subarray(start, start + CHUNK_BYTES);
      hash.update(chunk);
      yield chunk;
    }
  }
  yield Buffer.concat([CHECKSUM_ENTRY, hash.digest()]);
}

/** All but the checksum: small parts and vectors in turn. */
function* layOut({ config, trainedOn, progress, vectors }: CheckpointContent): Generator<Uint8Array> {
  const packer = new Packer();
  const head = {
    format: FORMAT,
    version: VERSION,
    config,
    configHash: hashConfig(config),
    trainedOn,
    progress,
  };
  packer.mapHeader(Object.keys(head).length + 2);
  for (const [key, value] of Object.entries(head)) {
    packer.string(key);
    packer.value(value);
  }
  function* vector(path: Path, { buffer, byteOffset, byteLength }: Float32Array) {
    packAligned(packer, path);
    packer.bytesHeader(byteLength);
    yield packer.take();
    yield Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    packer.skip(byteLength);
  }
  const { weights, velocity, statistics, accumulators } = vectors;
  yield* vector(['vectors', accumulators ? 4 : 3, 'weights'], weights);
  yield* vector(['velocity'], velocity);
  packer.string('statistics');
  packer.arrayHeader(statistics.length);
  for (const values of statistics) yield* vector([], values);
  if (accumulators) {
    yield* vector(['accumulators', 2, 'S'], accumulators.S);
    yield* vector(['A'], accumulators.A);
  }
  yield packer.take();
}

/** Keys, and the number of entries of maps, that lead to a vector from the one before. */
type Path = readonly (string | number)[];

/**
 * Lets a vector lie at a multiple of 4, where its path has keys to be stretched: a key's header may be longer than it
 * has to be. So the reader need not copy it. Small ones without a key of their own, the statistics, it copies.
 */
function packAligned(packer: Packer, path: Path): void {
  const packed = path.reduce<number>(
    (sum, step) => sum + 1 + (typeof step === 'string' ? step.length : 0),
    0,
  );
  let slack = -(packer.length + packed + BYTES_HEADER) & 3;
  for (const step of path) {
    if (typeof step === 'number') packer.mapHeader(step);
    else {
      const extra = Math.min(slack, 2);
      packer.string(step, extra);
      slack -= extra;
    }
  }
}

/**
 * The vectors are views of the bytes of the file where they lie at a multiple of 4, as they do; nothing is kept twice.
 * @throws CheckpointError where the file is no checkpoint of this version, or is damaged; else what the system throws.
 */
export async function readCheckpoint(file: string): Promise<Checkpoint> {
  const handle = await open(file);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new CheckpointError('no checkpoint: expected a file');
    checkHead(await readPart(handle, 0, Math.min(stat.size, LONGEST_HEAD)), stat.size);
    await checkTrailer(handle, stat.size);
    return decode(await readWhole(handle, stat.size));
  } finally {
    await handle.close();
  }
}

/** Of the two entries at the front, in any of their encodings. */
const LONGEST_HEAD = 64;

/** These two come first in every version, whatever follows. */
function checkHead(head: Uint8Array, size: number): void {
  const unpacker = new Unpacker(head);
  let version: unknown;
  try {
    unpacker.mapHeader();
    const found = [unpacker.value(), unpacker.value(), unpacker.value()];
    if (String(found) !== String(['format', FORMAT, 'version'])) throw new UnpackError('other entries');
    version = unpacker.value();
  } catch (error) {
    if (error instanceof UnpackError && error.early && size < LONGEST_HEAD) {
      throw new CheckpointError(`truncated: expected a checkpoint, got ${size} bytes`);
    }
    throw new CheckpointError(`no checkpoint: expected a map that starts with the format ${FORMAT}`);
  }
  if (version === VERSION) return;
  if (typeof version !== 'number') throw new CheckpointError('no checkpoint: expected a version number');
  const age = version > VERSION ? 'newer' : 'older';
  throw new CheckpointError(
    `version ${version} is ${age} than this gradamp, which reads version ${VERSION}; use the gradamp that wrote it`,
  );
}

async function checkTrailer(handle: FileHandle, size: number): Promise<void> {
  const start = Math.max(0, size - TRAILER_BYTES);
  const trailer = await readPart(handle, start, size - start);
  if (trailer.length === TRAILER_BYTES && CHECKSUM_ENTRY.compare(trailer, 0, CHECKSUM_ENTRY.length) === 0) {
    return;
  }
  throw new CheckpointError(`truncated: expected a checksum at the end of the file, of ${size} bytes`);
}

async function readPart(handle: FileHandle, start: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(length);
  await fill(handle, buffer, start);
  return buffer;
}

/** @throws CheckpointError where the file ends before the buffer is full. */
async function fill(handle: FileHandle, buffer: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < buffer.length; ) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) throw new CheckpointError('truncated: the file became shorter while it was read');
    done += bytesRead;
  }
}

/** Hashes a chunk while the next ones are read. @throws CheckpointError where the checksum is another. */
async function readWhole(handle: FileHandle, size: number): Promise<Uint8Array> {
  const bytes = allocate(size);
  const hash = createHash('sha256');
  const reads: Promise<void>[] = [];
  const read = (start: number) => {
    if (start >= size) return;
    const reading = fill(handle, bytes.subarray(start, start + CHUNK_BYTES), start);
    // Told when it is its turn.
    reading.catch(() => {});
    reads.push(reading);
  };
  for (let ahead = 0; ahead < READS; ahead++) read(ahead * CHUNK_BYTES);
  try {
    for (let start = 0; start < size; start += CHUNK_BYTES) {
      await reads.shift();
      read(start + READS * CHUNK_BYTES);
      hash.update(bytes.subarray(start, Math.min(start + CHUNK_BYTES, size - TRAILER_BYTES)));
    }
  } finally {
    // Before the file is closed.
    await Promise.allSettled(reads);
  }
  if (hash.digest().equals(bytes.subarray(size - 32))) return bytes;
  throw new CheckpointError('checksum differs: the file is not as it was written');
}

function allocate(size: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(size);
  } catch {
    throw new CheckpointError(`too large: expected a file that fits into memory, got ${size} bytes`);
  }
}

/** Of the whole file, whose checksum is right. @throws CheckpointError where it is no checkpoint for all that. */
function decode(bytes: Uint8Array): Checkpoint {
  try {
    const unpacker = new Unpacker(bytes);
    const map = unpacker.value();
    if (unpacker.rest > 0)
      throw new UnpackError(`expected nothing behind the map, got ${unpacker.rest} bytes`);
    const { checksum, ...checkpoint } = checkStructure(map);
    if (hashConfig(checkpoint.config) !== checkpoint.configHash) {
      throw new StructureError('configHash: expected that of the config');
    }
    const { weights, velocity, statistics, accumulators } = checkpoint.vectors;
    const vectors = {
      weights: toVector(weights),
      velocity: toVector(velocity),
      statistics: statistics.map(toVector),
      ...(accumulators && { accumulators: { S: toVector(accumulators.S), A: toVector(accumulators.A) } }),
    };
    return { ...checkpoint, vectors };
  } catch (error) {
    if (!(error instanceof UnpackError || error instanceof StructureError)) throw error;
    throw new CheckpointError(`unexpected content: ${error.message}`);
  }
}

/** A view where it can be one. */
function toVector({ buffer, byteOffset, byteLength }: Uint8Array): Float32Array {
  const aligned = byteOffset % Float32Array.BYTES_PER_ELEMENT === 0;
  const start = aligned ? byteOffset : 0;
  const from = aligned ? buffer : buffer.slice(byteOffset, byteOffset + byteLength);
  return new Float32Array(from, start, byteLength / Float32Array.BYTES_PER_ELEMENT);
}
