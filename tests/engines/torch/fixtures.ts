import { it as always } from 'vitest';
import { isBuilt, loadAddon } from '../../../src/engines/torch/load.ts';
import { prepareThreads } from '../../../src/engines/torch/threads.ts';

/** Skipped where the addon is not built. */
export const it = always.skipIf(!isBuilt());

prepareThreads({ devices: ['cpu'] });

/** That of this thread, for such tests. */
export const addon = (isBuilt() ? loadAddon() : undefined)!;
