// Replacing a file so that whatever happens, power loss included, either the old one or the new one is there, whole.

import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** So much is handed to the disk at once while more is written: at the end little is left to wait for. */
const FLUSHED_BYTES = 2 ** 25;

/**
 * Writes `${file}.tmp`, flushes it to the disk and renames it over `file`. One writer a file at a time. A chunk is asked
 * for while the one before it is written: it must not change until it is followed by two.
 * @throws what the system or `chunks` throws: the old file is as it was, and nothing is left beside it.
 */
export async function writeDurably(file: string, chunks: Chunks): Promise<void> {
  const partial = `${file}.tmp`;
  try {
    await writeFlushed(partial, chunks);
    await rename(partial, file);
  } catch (error) {
    // What keeps it from being removed is no news.
    await rm(partial, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(file));
}

async function writeFlushed(file: string, chunks: Chunks): Promise<void> {
  const handle = await open(file, 'w');
  const tasks = new Tasks();
  try {
    let unflushed = 0;
    for await (const chunk of chunks) {
      await tasks.done('write');
      tasks.start('write', writeWhole(handle, chunk));
      unflushed += chunk.length;
      if (unflushed < FLUSHED_BYTES) continue;
      unflushed = 0;
      await tasks.done('flush');
      tasks.start('flush', handle.datasync());
    }
    await tasks.done('write');
    await tasks.done('flush');
    await handle.sync();
  } finally {
    await tasks.settled();
    await handle.close();
  }
}

async function writeWhole(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await handle.write(chunk, done);
    done += bytesWritten;
  }
}

/** What goes on at the same time: one write, and one flush of what was written before. */
class Tasks {
  readonly #running = new Map<'write' | 'flush', Promise<void>>();

  start(kind: 'write' | 'flush', task: Promise<void>): void {
    // Told by `done`, which may come later than the failure.
    task.catch(() => {});
    this.#running.set(kind, task);
  }

  /** @throws what the task does. */
  async done(kind: 'write' | 'flush'): Promise<void> {
    await this.#running.get(kind);
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values());
  }
}

/** Makes renames and removals in a folder last. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether the system refused to write for want of space. */
export const isDiskFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
