// The engine tfjs. A module of its own, so that threads that run another engine load none of TensorFlow.js.

import type { Engine } from '../engine.ts';
import { type BackendName, loadBackend } from './backend.ts';
import { TfjsReplica } from './replica.ts';

export async function createTfjsEngine(backend: BackendName, device: string): Promise<Engine> {
  const loaded = await loadBackend(backend, device);
  return {
    name: 'tfjs',
    description: loaded.description,
    createReplica: (options) => new TfjsReplica(loaded, options),
  };
}
