// `gradamp bench checkpoint`: writing and reading a checkpoint beside plain sequential writes and reads of as many bytes
// in the same folder. Every write ends on the disk and under its name.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ModelName } from '../src/config/schema.ts';
import { UsageError } from '../src/errors.ts';
import type { Graph } from '../src/models/graph.ts';
import { buildModel } from '../src/models/index.ts';
import { initialParameters, initialStatistics } from '../src/models/initialise.ts';
import { sharedFloat32 } from '../src/parallel/store.ts';
import {
  CHUNK_BYTES,
  type CheckpointContent,
  encodeCheckpoint,
  readCheckpoint,
  writeCheckpoint,
} from '../src/training/checkpoint.ts';
import { syncFolder } from '../src/training/durable.ts';
import { NO_PROGRESS } from '../src/training/run-state.ts';
import { alternate, median, ratioOfPairs, type Spread } from './statistics.ts';
import { CLASSES, normalisation } from './synthetic-data.ts';

export interface CheckpointBenchOptions {
  readonly model: ModelName;
  readonly width: number;
  readonly pairs: number;
  /** Where files are written, in a folder of their own; without it `build`, or the system's folder for temporary files. */
  readonly dir?: string;
}

/** Milliseconds by pair. */
export interface CheckpointRow {
  readonly what: 'write' | 'read' | 'read into memory';
  readonly milliseconds: readonly number[];
  readonly plainMilliseconds: readonly number[];
  /** 10^6 bytes a second, of the median. */
  readonly megabytesPerSecond: number;
  readonly plainMegabytesPerSecond: number;
  /** The plain one's time / the checkpoint's: 1 at the speed of the disk. */
  readonly share: Spread;
}

export interface CheckpointResult {
  readonly model: ModelName;
  readonly width: number;
  readonly parameters: number;
  readonly dir: string;
  /** Pairs of each row. */
  readonly n: number;
  /** Of the file. */
  readonly bytes: number;
  /** Of weights, momentum and statistics alone, without the layout's padding. */
  readonly numberBytes: number;
  /** Of a write or read on either side. */
  readonly chunkBytes: number;
  /** Whether the system forgot the files before each read; else it read them from its memory, on both sides. */
  readonly cold: boolean;
  readonly rows: readonly CheckpointRow[];
}

/**
 * On this thread, alone.
 * @param report called with a line of progress.
 * @throws UsageError where the folder cannot be written.
 */
export async function benchCheckpoint(
  options: CheckpointBenchOptions,
  report: (line: string) => void,
): Promise<CheckpointResult> {
  const { model, width, pairs: n, dir = existsSync('build') ? 'build' : tmpdir() } = options;
  const graph = buildModel({ name: model, width, classes: CLASSES });
  const content = contentOf(graph);
  const folder = makeFolder(dir);
  const [file, plainFile] = [join(folder, 'checkpoint.msgpack'), join(folder, 'plain')];
  try {
    const { bytes } = await writeCheckpoint(file, content);
    const chunks = [...encodeCheckpoint(content)];
    await writePlain(folder, plainFile, chunks);
    const cold = forgetFiles();
    const measure = (what: CheckpointRow['what'], ours: Timing, plain: Timing) =>
      compare({ what, ours, plain, pairs: n, bytes, report });
    const reading =
      (work: Work): Timing =>
      async () => {
        forgetFiles();
        return timed(work);
      };
    const read = reading(() => readCheckpoint(file));
    const rows = [
      await measure(
        'write',
        () => timed(() => writeCheckpoint(file, content)),
        () => timed(() => writePlain(folder, plainFile, chunks)),
      ),
      await measure(
        'read',
        read,
        reading(() => readPlain(plainFile, CHUNK_BYTES)),
      ),
      await measure(
        'read into memory',
        read,
        reading(() => readPlain(plainFile, bytes)),
      ),
    ];
    const numberBytes = 4 * (2 * graph.parameterCount + graph.statisticsLength);
    const parameters = graph.parameterCount;
    return { model, width, parameters, dir, n, bytes, numberBytes, chunkBytes: CHUNK_BYTES, cold, rows };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A run of one worker at the end of an epoch. */
function contentOf(graph: Graph): CheckpointContent {
  const shared = (values: Float32Array) => {
    const vector = sharedFloat32(values.length);
    vector.set(values);
    return vector;
  };
  const weights = shared(initialParameters(graph, 0));
  return {
    config: '',
    trainedOn: { normalisation, labels: '' },
    progress: NO_PROGRESS,
    vectors: { weights, velocity: shared(weights), statistics: [shared(initialStatistics(graph))] },
  };
}

function makeFolder(dir: string): string {
  try {
    return mkdtempSync(join(dir, 'gradamp-bench-'));
  } catch (error) {
    throw new UsageError(
      `--dir: expected a folder that can be written, got ${dir}: ${(error as Error).message}`,
    );
  }
}

type Work = () => Promise<unknown>;
/** In milliseconds. */
type Timing = () => Promise<number>;

async function timed(work: Work): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

interface Comparison {
  readonly what: CheckpointRow['what'];
  readonly ours: Timing;
  readonly plain: Timing;
  readonly pairs: number;
  readonly bytes: number;
  readonly report: (line: string) => void;
}

async function compare({ what, ours, plain, pairs, bytes, report }: Comparison): Promise<CheckpointRow> {
  const { a, b } = await alternate(pairs, ours, plain, (pair, a, b) =>
    report(`${what}, pair ${pair + 1} of ${pairs}: ${a.toFixed(0)} ms, plain ${b.toFixed(0)} ms`),
  );
  const speed = (milliseconds: readonly number[]) => bytes / median(milliseconds) / 1e3;
  return {
    what,
    milliseconds: a,
    plainMilliseconds: b,
    megabytesPerSecond: speed(a),
    plainMegabytesPerSecond: speed(b),
    share: ratioOfPairs(b, a),
  };
}

/** One after the other, then all of it to the disk. */
async function writePlain(folder: string, file: string, chunks: readonly Uint8Array[]): Promise<void> {
  const partial = `${file}.tmp`;
  await withFile(partial, 'w', async (handle) => {
    for (const chunk of chunks) await handle.write(chunk);
    await handle.sync();
  });
  await rename(partial, file);
  await syncFolder(folder);
}

/** @param held bytes that stay: less than the file's are written over and over, as by one who needs none of them. */
function readPlain(file: string, held: number): Promise<void> {
  return withFile(file, 'r', async (handle) => {
    const buffer = Buffer.allocUnsafeSlow(held);
    for (let position = 0; ; ) {
      const start = position % held;
      const length = Math.min(CHUNK_BYTES, held - start);
      const { bytesRead } = await handle.read(buffer, start, length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
    }
  });
}

async function withFile(file: string, flags: string, work: (handle: FileHandle) => Promise<void>) {
  const handle = await open(file, flags);
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}

/** Where this process may: that is for root, on Linux. @returns whether it did. */
function forgetFiles(): boolean {
  try {
    execFileSync('sync');
    writeFileSync('/proc/sys/vm/drop_caches', '1');
    return true;
  } catch {
    return false;
  }
}
