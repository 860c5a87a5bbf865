// The engine that a config stands for where no native addon is built.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { chooseEngine, type EngineSettings } from '../../../src/engines/index.ts';
import { UsageError } from '../../../src/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-without-addon-'));
beforeAll(() => vi.stubEnv('GRADAMP_NATIVE', folder));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const choose = (changes: Partial<EngineSettings>) =>
  chooseEngine({ engine: 'auto', backend: 'wasm', devices: ['cpu'], ...changes });
const problem =
  `engine torch: its native addon cannot be used: ${join(folder, 'gradamp.node')}: not there; ` +
  '`npm run build:native` builds it, `npm run setup:native` gets libtorch and a compiler first';

test('auto is tfjs on processors', () => {
  expect(choose({})).toEqual({ engine: 'tfjs', warnings: [] });
  expect(() => choose({ engine: 'torch' })).toThrow(new UsageError(`${problem}, or use engine: tfjs`));
});

test('GPUs are for torch, and what is wrong with it is told', () => {
  for (const engine of ['auto', 'torch'] as const) {
    expect(() => choose({ engine, devices: ['cuda:0'] })).toThrow(
      new UsageError(`${problem}, or use devices: [cpu]`),
    );
  }
});
