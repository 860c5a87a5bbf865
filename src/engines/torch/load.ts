// Loads the native addon: what is tried, what is refused, and what then helps. Whether it can be used is found out in a
// process of its own, see scripts/native/addon.mjs.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import {
  addonFile,
  addonFolder,
  type DeviceList,
  type Inspection,
  inspectAddon,
  listDevices,
} from '#native-addon';
import { UsageError } from '../../errors.ts';
import type { NativeAddon } from './addon.ts';

let inspection: Inspection | undefined;
let devices: DeviceList | undefined;

/** Whether the addon can be used here: what it is, or one line that says why not. Found out once a process. */
export function inspectNative(): Inspection {
  inspection ??= inspectAddon(addonFolder());
  return inspection;
}

/** The GPUs that the addon sees, where it can be used. Asked once a process, which may take seconds. */
export function nativeDevices(): DeviceList {
  devices ??= listDevices(addonFolder());
  return devices;
}

/** Whether somebody built an addon, be it of use or not. */
export function isBuilt(): boolean {
  return existsSync(addonFile(addonFolder()));
}

/**
 * What is wrong with an addon, and what to do, in one line.
 *
 * @param otherwise what else would run.
 */
export function describeProblem(problem: string, otherwise = 'use engine: tfjs'): string {
  const remedy = isBuilt()
    ? 'build it again with `npm run build:native`'
    : '`npm run build:native` builds it, `npm run setup:native` gets libtorch and a compiler first';
  return `engine torch: its native addon cannot be used: ${problem}; ${remedy}, or ${otherwise}`;
}

/**
 * The addon of this thread.
 *
 * @throws UsageError, one line: why it cannot be used, and what to do.
 */
export function loadAddon(): NativeAddon {
  // Whoever starts a worker thread has found out that the addon can be used.
  const problem = isMainThread ? inspectNative().problem : undefined;
  if (problem !== undefined) throw new UsageError(describeProblem(problem));
  return createRequire(import.meta.url)(addonFile(addonFolder()));
}
