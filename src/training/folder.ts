// A folder that the user named: what is there already, and how it is made.

import { lstatSync, mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { UsageError } from '../errors.ts';

/** What the system says about a path that the user named is wrong input; any other error stays what it is. */
export function asUsageError(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  return new UsageError(
    `${path}: expected a folder that can be written, got ${code}; choose another with --out`,
  );
}

/** The path, or the folder above it that is there; a file on the way counts as being there. */
export function nearestExisting(path: string): string {
  let existing = resolve(path);
  while (!exists(existing)) existing = dirname(existing);
  return existing;
}

export function exists(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    // Something above it is a file.
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return false;
    throw error;
  }
}

/** Folder by folder: Node's recursive mkdir does not return from below /proc. Another process may be making them, too. */
export function makeFolders(path: string): void {
  if (exists(path)) return;
  makeFolders(dirname(resolve(path)));
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
