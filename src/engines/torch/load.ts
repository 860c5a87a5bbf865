// Loads the native addon: what is tried, what is refused, and what then helps. Whether it can be used is found out in a
// process of its own, see scripts/native/addon.mjs.

import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { addonFile, addonFolder, type Inspection, inspectAddon } from '#native-addon';
import { UsageError } from '../../errors.ts';
import type { NativeAddon } from './addon.ts';

const REMEDY =
  '`npm run build:native` builds it where libtorch, cmake and a compiler are there, `npm run setup:native` gets them first, ' +
  'engine: tfjs does without';

let inspection: Inspection | undefined;

/** Whether the addon can be used here: what it is, or one line that says why not. Found out once a process. */
export function inspectNative(): Inspection {
  inspection ??= inspectAddon(addonFolder());
  return inspection;
}

/**
 * The addon of this thread.
 *
 * @throws UsageError, one line: what was tried, why it cannot be used, and what to do.
 */
export function loadAddon(): NativeAddon {
  // Whoever starts a worker thread has found out that the addon can be used.
  const problem = isMainThread ? inspectNative().problem : undefined;
  if (problem !== undefined) throw new UsageError(`engine torch: ${problem}; ${REMEDY}`);
  return createRequire(import.meta.url)(addonFile(addonFolder()));
}
