// How the gradients of a step's workers come together; which one a config stands for.

import type { Config } from '../config/schema.ts';

/**
 * `none`: one worker has the whole gradient. `nccl`: GPUs exchange them among themselves. `shared-memory`: each worker
 * writes its own to memory that all read.
 */
export type Collective = 'none' | 'nccl' | 'shared-memory';

/** Of `auto`, nccl where every worker has a GPU to itself: of two on one device, each would wait for the other. */
export function collectiveOf({ devices, collective }: Pick<Config, 'devices' | 'collective'>): Collective {
  if (devices.length === 1) return 'none';
  if (collective !== 'auto') return collective;
  const alone = new Set(devices).size === devices.length;
  return alone && !devices.includes('cpu') ? 'nccl' : 'shared-memory';
}
