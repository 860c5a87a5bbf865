// Choosing an engine, a backend and a device: what is refused, and how.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import {
  chooseEngine,
  createEngine,
  type EngineSettings,
  engineMemoryLimit,
} from '../../src/engines/index.ts';
import { UsageError } from '../../src/errors.ts';

// Where no addon is, so that `auto` is tfjs also where one is built.
const folder = mkdtempSync(join(tmpdir(), 'gradamp-engine-'));
afterAll(() => rmSync(folder, { recursive: true }));
vi.stubEnv('GRADAMP_NATIVE', folder);
afterEach(() => {
  vi.unstubAllEnvs();
  vi.stubEnv('GRADAMP_NATIVE', folder);
});

const TFJS = { engine: 'tfjs', warnings: [] };

describe('chooseEngine, without a native addon,', () => {
  test('takes several cpu devices on wasm and cpu', () => {
    expect(chooseEngine({ engine: 'auto', backend: 'wasm', devices: ['cpu', 'cpu', 'cpu'] })).toEqual(TFJS);
    expect(chooseEngine({ engine: 'tfjs', backend: 'cpu', devices: ['cpu', 'cpu'] })).toEqual(TFJS);
    expect(chooseEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cpu'] })).toEqual(TFJS);
    expect(
      chooseEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cpu'], deterministic: false }),
    ).toEqual(TFJS);
    for (const backend of ['wasm', 'cpu'] as const) {
      expect(chooseEngine({ engine: 'auto', backend, devices: ['cpu', 'cpu'], deterministic: true })).toEqual(
        TFJS,
      );
    }
  });

  test('takes one GPU on tensorflow when the process sees only that one', () => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '1');
    expect(chooseEngine({ engine: 'tfjs', backend: 'tensorflow', devices: ['cuda:1'] })).toEqual(TFJS);
  });

  test.each([
    [
      { engine: 'torch', backend: 'wasm', devices: ['cpu'] },
      `engine torch: its native addon cannot be used: ${folder}/gradamp.node: not there; \`npm run build:native\` builds it, ` +
        '`npm run setup:native` gets libtorch and a compiler first, or use engine: tfjs',
    ],
    ...(['auto', 'torch'] as const).map((engine): [EngineSettings, string] => [
      { engine, backend: 'wasm', devices: ['cuda:0'] },
      `engine torch: its native addon cannot be used: ${folder}/gradamp.node: not there; \`npm run build:native\` builds it, ` +
        '`npm run setup:native` gets libtorch and a compiler first, or use devices: [cpu]',
    ]),
    [
      { engine: 'tfjs', backend: 'wasm', devices: ['cpu', 'cuda:0'] },
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
  ] satisfies [EngineSettings, string][])('refuses %j', (settings, message) => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '0,1');
    expect(() => chooseEngine(settings)).toThrow(new UsageError(message));
  });
});

test('an addon that was built but cannot be used is a warning under auto, and an error where torch is named', async () => {
  const broken = mkdtempSync(join(tmpdir(), 'gradamp-broken-'));
  vi.stubEnv('GRADAMP_NATIVE', broken);
  writeFileSync(join(broken, 'gradamp.node'), 'garbage');
  vi.resetModules();
  const { chooseEngine } = await import('../../src/engines/index.ts');
  const problem =
    `engine torch: its native addon cannot be used: ${broken}/build-info.json: missing or damaged; ` +
    'build it again with `npm run build:native`, or use engine: tfjs';
  const settings = { backend: 'wasm', devices: ['cpu'] } as const;
  expect(chooseEngine({ ...settings, engine: 'auto' })).toEqual({
    engine: 'tfjs',
    warnings: [`tfjs takes its place: ${problem}`],
  });
  expect(() => chooseEngine({ ...settings, engine: 'torch' })).toThrow(problem);
  // Another backend than the default asks for tfjs.
  expect(chooseEngine({ ...settings, engine: 'auto', backend: 'cpu' })).toEqual(TFJS);
  rmSync(broken, { recursive: true });
});

describe('createEngine', () => {
  test('auto takes tfjs where there is no addon, and says which package and version runs', async () => {
    const engine = await createEngine({ engine: 'auto', backend: 'wasm', device: 'cpu' });
    expect(engine.name).toBe('tfjs');
    expect(engine.description).toMatch(/^wasm \(@tensorflow\/tfjs-backend-wasm \d+\.\d+\.\d+\)$/);
  });

  test('refuses what chooseEngine refuses', async () => {
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

test('a wasm heap holds at most 4 GiB less a page; torch has what the machine has', () => {
  expect(engineMemoryLimit({ engine: 'tfjs', backend: 'wasm' })).toBe(65_535 * 65_536);
  expect(engineMemoryLimit({ engine: 'tfjs', backend: 'tensorflow' })).toBeUndefined();
  expect(engineMemoryLimit({ engine: 'torch', backend: 'wasm' })).toBeUndefined();
});
