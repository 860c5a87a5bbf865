// One set-up of a checkout at a time.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SetupError, speaker } from './command.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LONGEST_WAIT_SECONDS = 900;

/**
 * Keeps other set-ups of this checkout waiting. The lock is a folder in the checkout's root, since node_modules may
 * not be there yet; it comes into being complete, by a rename, so that it always names its process.
 */
export async function withLock(program, work) {
  const lock = join(ROOT, '.setup-lock');
  const mine = `${lock}.${process.pid}`;
  try {
    mkdirSync(mine, { recursive: true });
  } catch (error) {
    throw new SetupError(`${ROOT}: expected a folder to write to, got ${error.code}`);
  }
  writeFileSync(join(mine, 'pid'), String(process.pid));
  const removeMine = () => rmSync(mine, { recursive: true, force: true });
  process.once('exit', removeMine);
  for (let waited = 0; !acquire(mine, lock); waited++) {
    const holder = holderOf(lock);
    if (holder !== undefined && !isAlive(holder)) {
      discard(lock, holder);
    } else {
      if (waited === 0) speaker(program)(`waiting for another set-up of this folder (process ${holder}) ...`);
      if (waited >= LONGEST_WAIT_SECONDS * 4) {
        throw new SetupError(`another set-up does not end; if there is none, remove ${lock}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.once('exit', release);
  try {
    await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

function acquire(mine, lock) {
  try {
    // Fails where the lock is there, as it is never empty.
    renameSync(mine, lock);
    return true;
  } catch (error) {
    // Windows answers with a lack of permission.
    if (['ENOTEMPTY', 'EEXIST', 'EPERM', 'EACCES'].includes(error.code)) return false;
    throw error;
  }
}

function holderOf(lock) {
  try {
    return Number(readFileSync(join(lock, 'pid'), 'utf8'));
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Removes the lock of a process that is gone, unless somebody else took it over in the meantime. */
function discard(lock, holder) {
  const aside = `${lock}.stale.${process.pid}`;
  try {
    renameSync(lock, aside);
    if (holderOf(aside) !== holder) renameSync(aside, lock);
  } catch {
    // Another set-up was faster; the next look will tell.
  }
  rmSync(aside, { recursive: true, force: true });
}
