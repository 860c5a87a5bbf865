// Choosing an engine, a backend and a device: what is refused, and how.

import { afterEach, describe, expect, test, vi } from 'vitest';
import { backendMemoryLimit, checkEngine, createEngine } from '../../src/engines/index.ts';
import { UsageError } from '../../src/errors.ts';

afterEach(() => vi.unstubAllEnvs());

describe('checkEngine', () => {
  test('takes several cpu devices on wasm and cpu', () => {
    checkEngine({ engine: 'auto', backend: 'wasm', devices: ['cpu', 'cpu', 'cpu'] });
    checkEngine({ engine: 'tfjs', backend: 'cpu', devices: ['cpu', 'cpu'] });
    checkEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cpu'] });
    checkEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cpu'], deterministic: false });
    for (const backend of ['wasm', 'cpu'] as const) {
      checkEngine({ engine: 'auto', backend, devices: ['cpu', 'cpu'], deterministic: true });
    }
  });

  test('takes one GPU on tensorflow when the process sees only that one', () => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '1');
    checkEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cuda:1'] });
  });

  test.each([
    [
      { engine: 'torch', backend: 'wasm', devices: ['cpu'] },
      'engine: torch is not built yet; use engine: tfjs or auto',
    ],
    [
      { engine: 'auto', backend: 'wasm', devices: ['cpu', 'cuda:0'] },
      'devices: backend wasm of engine tfjs runs on cpu only, got cuda:0; use devices: [cpu], or backend: tensorflow for one GPU',
    ],
    [
      { engine: 'tfjs', backend: 'tensorflow', devices: ['cpu', 'cpu'] },
      'devices: backend tensorflow takes one device a process, got 2; use one device, or backend: wasm with several cpu',
    ],
    [
      { engine: 'tfjs', backend: 'tensorflow', devices: ['cuda:1'] },
      'devices: backend tensorflow cannot choose a GPU; start gradamp with CUDA_VISIBLE_DEVICES=1 for cuda:1',
    ],
    [
      { engine: 'tfjs', backend: 'tensorflow', devices: ['cpu'], deterministic: true },
      'deterministic: backend tensorflow cannot promise the same bits twice, since its threads add up in any order; use backend: wasm or cpu, or deterministic: false',
    ],
  ] as const)('refuses %j', (options, message) => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '0,1');
    expect(() => checkEngine(options)).toThrow(new UsageError(message));
  });
});

describe('createEngine', () => {
  test('auto takes tfjs, and says which package and version runs', async () => {
    const engine = await createEngine({ engine: 'auto', backend: 'wasm', device: 'cpu' });
    expect(engine.name).toBe('tfjs');
    expect(engine.description).toMatch(/^wasm \(@tensorflow\/tfjs-backend-wasm \d+\.\d+\.\d+\)$/);
  });

  test('refuses what checkEngine refuses', async () => {
    await expect(createEngine({ engine: 'auto', backend: 'cpu', device: 'cuda:0' })).rejects.toThrow(
      UsageError,
    );
    const random = { engine: 'auto', backend: 'tensorflow', device: 'cpu', deterministic: true } as const;
    await expect(createEngine(random)).rejects.toThrow(/^deterministic: backend tensorflow cannot promise/);
  });

  test('says how to get tensorflow where it is not installed', async () => {
    vi.doMock('@tensorflow/tfjs-node', () => {
      throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    });
    const attempt = createEngine({ engine: 'tfjs', backend: 'tensorflow', device: 'cpu' });
    await expect(attempt).rejects.toThrow(
      /^backend tensorflow: @tensorflow\/tfjs-node .*npm install .* Node 20 or 22/,
    );
    // Not the first attempt's error: it is loaded again.
    vi.doMock('@tensorflow/tfjs-node', () => ({}));
    const next = createEngine({ engine: 'tfjs', backend: 'tensorflow', device: 'cpu' });
    await expect(next).rejects.toThrow(/'tensorflow' not found/);
  });
});

test('a wasm heap holds at most 4 GiB less a page', () => {
  expect(backendMemoryLimit('wasm')).toBe(65_535 * 65_536);
  expect(backendMemoryLimit('tensorflow')).toBeUndefined();
});
