// The engine that a config stands for where the native addon loads.

import { describe, expect, test } from 'vitest';
import { chooseEngine, type EngineSettings } from '../../../src/engines/index.ts';
import { inspectNative, isBuilt } from '../../../src/engines/torch/load.ts';

const settings = (changes: Partial<EngineSettings>): EngineSettings => ({
  engine: 'auto',
  backend: 'wasm',
  devices: ['cpu'],
  ...changes,
});

describe.skipIf(!isBuilt())('with a native addon', () => {
  test('auto is torch, unless the config names a backend of tfjs', () => {
    expect(chooseEngine(settings({ threads: 1 }))).toEqual({ engine: 'torch', warnings: [] });
    expect(chooseEngine(settings({ engine: 'torch', backend: 'cpu' })).engine).toBe('torch');
    expect(chooseEngine(settings({ backend: 'cpu' })).engine).toBe('tfjs');
    expect(chooseEngine(settings({ engine: 'tfjs' })).engine).toBe('tfjs');
  });

  test('a GPU beyond those of the machine is refused', () => {
    const { info } = inspectNative();
    const message = info?.cuda
      ? /^devices: expected a device of this machine/
      : /^devices: expected cpu, as libtorch/;
    expect(() => chooseEngine(settings({ devices: ['cuda:999'] }))).toThrow(message);
  });

  test('far more threads than processors are a warning', () => {
    const { engine, warnings } = chooseEngine(settings({ threads: 1000 }));
    expect(engine).toBe('torch');
    expect(warnings).toEqual([expect.stringMatching(/^threads: 1000 on each of 1 workers are 1000, but /)]);
  });
});
