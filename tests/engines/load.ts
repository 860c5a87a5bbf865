// The engines that tests run on. Whatever needs torch is skipped where its addon is not built; CI builds it, and takes a
// skipped test as a failure.

import { describe } from 'vitest';
import type { Engine } from '../../src/engines/engine.ts';
import { createEngine } from '../../src/engines/index.ts';
import { isBuilt } from '../../src/engines/torch/load.ts';

/** torch, or a backend of tfjs. */
export type TestedEngine = 'wasm' | 'cpu' | 'torch';

/** torch with two threads, so that work is split. */
export function loadEngine(name: TestedEngine): Promise<Engine> {
  return name === 'torch'
    ? createEngine({ engine: 'torch', backend: 'wasm', device: 'cpu', threads: 2 })
    : createEngine({ engine: 'tfjs', backend: name, device: 'cpu' });
}

export const describeTorch = describe.skipIf(!isBuilt());

/** A suite for each of these engines. */
export function describeEngines(
  names: readonly TestedEngine[],
  title: string,
  suite: (name: TestedEngine) => void,
): void {
  for (const name of names)
    (name === 'torch' ? describeTorch : describe)(`${title}, ${name}`, () => suite(name));
}
