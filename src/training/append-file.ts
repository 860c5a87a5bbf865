// A file that grows by whole texts and outlives a full disk: what the system refuses waits in memory for space.

import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { writeDurably } from './durable.ts';

/** Is told of the turns, not of every text. */
export interface AppendObserver {
  /** The system refuses (ENOSPC, EDQUOT, EIO, ...) what it took before. */
  onFailure(file: string, error: NodeJS.ErrnoException): void;
  /** All that waited is written. */
  onRecovery(file: string): void;
}

export class AppendFile {
  readonly path: string;
  readonly #observer: AppendObserver;
  #pending: Buffer[] = [];
  #failing = false;
  /** Length of the whole texts, while the file may hold a part of another behind them. */
  #whole?: number;

  /**
   * The file comes into being with the first text. Of one that is there, a last line without its end (what a power
   * loss leaves) makes way for the first text.
   */
  constructor(path: string, observer: AppendObserver) {
    this.path = path;
    this.#observer = observer;
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return;
    const content = readFileSync(path);
    const lines = content.lastIndexOf('\n') + 1;
    if (lines < content.length) this.#whole = lines;
  }

  /** Durably replaces the file by one that holds `content`, which waits, too, where the system refuses it. */
  static async replacing(path: string, content: string, observer: AppendObserver): Promise<AppendFile> {
    const file = new AppendFile(path, observer);
    try {
      await writeDurably(path, [Buffer.from(content)]);
      file.#whole = undefined;
    } catch (error) {
      file.#pending.push(Buffer.from(content));
      file.#whole = 0;
      file.#refused(error);
    }
    return file;
  }

  /** Writes what waits and `content`, in one write; all of it waits where the system refuses or takes only a part. */
  append(content: string | Uint8Array): void {
    this.#pending.push(Buffer.from(content));
    this.retry();
  }

  /** Tries again to write what waits. */
  retry(): void {
    try {
      this.#writePending();
    } catch (error) {
      this.#refused(error);
    }
  }

  /** Brings all texts to the disk. @throws the system's error where it still refuses one. */
  flush(): void {
    this.#writePending();
    if (!existsSync(this.path)) return;
    const handle = openSync(this.path, 'a');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  }

  #writePending(): void {
    if (this.#pending.length === 0) return;
    this.#write(Buffer.concat(this.#pending));
    this.#pending = [];
    if (!this.#failing) return;
    this.#failing = false;
    this.#observer.onRecovery(this.path);
  }

  #refused(error: unknown): void {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    if (this.#failing) return;
    this.#failing = true;
    this.#observer.onFailure(this.path, error as NodeJS.ErrnoException);
  }

  /** Opened anew each time: the path may have been cleared, or lead to another disk by now. */
  #write(content: Buffer): void {
    const handle = openSync(this.path, 'a');
    try {
      this.#cut(handle);
      this.#whole = fstatSync(handle).size;
      writeWhole(handle, content);
    } catch (error) {
      this.#tryToCut(handle);
      throw error;
    } finally {
      // Network file systems refuse only here.
      closeSync(handle);
    }
    this.#whole = undefined;
  }

  #cut(handle: number): void {
    if (this.#whole === undefined) return;
    if (fstatSync(handle).size > this.#whole) ftruncateSync(handle, this.#whole);
    this.#whole = undefined;
  }

  /** Where even this fails, the next write does it. */
  #tryToCut(handle: number): void {
    try {
      this.#cut(handle);
    } catch {}
  }
}

/** @throws the system's error, with any part of `content` written. */
function writeWhole(handle: number, content: Buffer): void {
  for (let written = 0; written < content.length; ) written += writeSync(handle, content, written);
}
