// The engines by name: what a config may ask for, and how to get one.

import { UsageError } from '../errors.ts';
import type { Engine } from './engine.ts';
import { type BackendName, loadBackend } from './tfjs/backend.ts';
import { TfjsReplica } from './tfjs/replica.ts';

export type EngineName = 'auto' | 'tfjs' | 'torch';

export interface EngineOptions {
  readonly engine: EngineName;
  /** Of the engine tfjs. */
  readonly backend: BackendName;
  /** `cpu` or `cuda:N`. */
  readonly device: string;
  /**
   * Refuses what cannot promise that the same calls give the same bits again, on the same machine and device; false by
   * default. The backends wasm and cpu promise it always: one thread a replica, sums in a fixed order.
   */
  readonly deterministic?: boolean;
}

/** Bytes that a wasm heap can grow to: 65,535 pages of 64 KiB. */
const WASM_MEMORY_LIMIT = 4_294_901_760;

/** What a backend can hold at most on one worker thread, in bytes; undefined: what the device has. */
export function backendMemoryLimit(backend: BackendName): number | undefined {
  return backend === 'wasm' ? WASM_MEMORY_LIMIT : undefined;
}

/**
 * Checks what can be checked without loading anything.
 *
 * @throws UsageError, one line with the key and the remedy.
 */
export function checkEngine(
  options: Omit<EngineOptions, 'device'> & { readonly devices: readonly string[] },
): void {
  const { engine, backend, devices, deterministic = false } = options;
  if (engine === 'torch') {
    throw new UsageError('engine: torch is not built yet; use engine: tfjs or auto');
  }
  if (deterministic && backend === 'tensorflow') {
    throw new UsageError(
      'deterministic: backend tensorflow cannot promise the same bits twice, since its threads add up in any order; use backend: wasm or cpu, or deterministic: false',
    );
  }
  const cuda = devices.find((device) => device !== 'cpu');
  if (cuda === undefined && backend !== 'tensorflow') return;
  if (backend !== 'tensorflow') {
    throw new UsageError(
      `devices: backend ${backend} of engine tfjs runs on cpu only, got ${cuda}; use devices: [cpu], or backend: tensorflow ` +
        'for one GPU',
    );
  }
  if (devices.length > 1) {
    throw new UsageError(
      `devices: backend tensorflow takes one device a process, got ${devices.length}; use one device, or backend: wasm ` +
        'with several cpu',
    );
  }
  // The binding takes the last GPU that the process sees, whatever is asked for.
  const index = cuda?.slice('cuda:'.length);
  if (cuda !== undefined && process.env.CUDA_VISIBLE_DEVICES !== index) {
    throw new UsageError(
      `devices: backend tensorflow cannot choose a GPU; start gradamp with CUDA_VISIBLE_DEVICES=${index} for ${cuda}`,
    );
  }
}

/**
 * Loads an engine on this thread.
 *
 * @throws UsageError as checkEngine, or where an optional package is not installed.
 */
export async function createEngine({ device, ...options }: EngineOptions): Promise<Engine> {
  const { backend } = options;
  checkEngine({ ...options, devices: [device] });
  const loaded = await loadBackend(backend, device);
  return {
    name: 'tfjs',
    description: loaded.description,
    createReplica: (options) => new TfjsReplica(loaded, options),
  };
}
