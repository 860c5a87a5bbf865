import { it as always } from 'vitest';
import { isBuilt, loadAddon } from '../../../src/engines/torch/load.ts';

/** Skipped where the addon is not built. */
export const it = always.skipIf(!isBuilt());

/** That of this thread, for such tests. */
export const addon = (isBuilt() ? loadAddon() : undefined)!;
