// Stands in for a disk that fills up within a write, which needs no privileges: Linux's limit on the size of files.

import { execFileSync } from 'node:child_process';

/** How large a file of this process may become, in bytes; behind that a write is cut short, then refused with EFBIG. */
export const limitFileSize = (bytes: number | 'unlimited') =>
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`]);

/** Whether this machine has the means. */
export const canLimit = (() => {
  try {
    limitFileSize('unlimited');
    return true;
  } catch {
    return false;
  }
})();
