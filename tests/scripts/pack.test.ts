// scripts/pack.mjs: what is refused, and what a packed folder holds and can do by itself. The archive is left out: it takes
// minutes.

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sourceHash } from '../../scripts/native/addon.mjs';
import { fromPackage } from '../../src/package-root.ts';

const USAGE = 'usage: node scripts/pack.mjs [--native <folder>] [--out <folder>] [--folder]';
const folder = mkdtempSync(join(tmpdir(), 'gradamp-pack-'));
const at = (...parts: string[]) => join(folder, ...parts);
afterAll(() => rmSync(folder, { recursive: true }));

function pack(options: readonly string[], root = fromPackage()) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'scripts', 'pack.mjs'), ...options],
    {
      cwd: folder,
      encoding: 'utf8',
    },
  );
  return { status, stdout, stderr };
}

describe('wrong input is one line, exit code 2', () => {
  test('an option that it does not have', () => {
    const { status, stderr } = pack(['--nativ', 'x']);
    expect(stderr).toMatch(/^pack: Unknown option '--nativ'.*\n$/);
    expect(stderr).toContain(USAGE);
    expect(status).toBe(2);
  });

  test('an addon that is not there, does not say what it was made of, or was made from other sources', () => {
    const native = at('native');
    const refused = () => pack(['--native', native]);
    const file = join(native, 'gradamp.node');
    expect(refused()).toEqual({
      ...{ status: 2, stdout: '' },
      stderr: `pack: --native: expected ${file}, found none\n`,
    });
    mkdirSync(native);
    writeFileSync(file, '');
    expect(refused().stderr).toBe(
      `pack: --native: expected ${join(native, 'build-info.json')}, found none\n`,
    );
    writeFileSync(join(native, 'build-info.json'), '{"sources":"0"}');
    expect(refused().stderr).toBe(
      `pack: --native: expected an addon of the sources that are here, got one of others in ${native}\n`,
    );
  });
});

test('a checkout that is not compiled is told, and nothing is written', () => {
  cpSync(fromPackage('scripts'), at('checkout', 'scripts'), { recursive: true });
  expect(pack(['--out', at('none')], at('checkout'))).toEqual({
    ...{ status: 1, stdout: '' },
    stderr:
      'pack: expected the compiled program, found no dist/src/cli/main.js; run `node scripts/setup.mjs` first\n',
  });
  expect(existsSync(at('none'))).toBe(false);
});

describe('a packed folder', () => {
  const packed = (...parts: string[]) => at('out', 'gradamp-gpu', ...parts);
  let told: string;

  beforeAll(() => {
    // Of these sources, and otherwise no addon at all.
    mkdirSync(at('own'));
    writeFileSync(at('own', 'gradamp.node'), 'addon');
    writeFileSync(at('own', 'build-info.json'), JSON.stringify({ sources: sourceHash() }));
    const { status, stdout, stderr } = pack(['--folder', '--out', at('out'), '--native', at('own')]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    told = stdout;
  });

  test('is told part by part, the largest first', () => {
    expect(told).toMatch(/^pack: +\d+\.\d MB {2}bin\npack: +\d+\.\d MB {2}node_modules\n/);
    expect(told).toMatch(/MB {2}in .*gradamp-gpu\n$/);
  });

  test('runs by its own Node, where no other is on the path', () => {
    const environment = { PATH: '/usr/bin:/bin', HOME: folder };
    const tiny = ['--model', 'resnet8', '--width', '0.125', '--batch', '4', '--engine', 'tfjs'];
    const options = ['bench', 'step', ...tiny, '--samples', '1', '--steps', '1', '--json'];
    const bench = spawnSync(packed('bin', 'gradamp'), options, {
      encoding: 'utf8',
      env: environment,
      cwd: folder,
    });
    expect(bench.stderr).toMatch(/^sample 1 of 1: /);
    const { versions } = JSON.parse(bench.stdout);
    expect(versions.node).toBe(process.versions.node);
    expect(versions.commit).toBe(JSON.parse(readFileSync(packed('pack.json'), 'utf8')).commit);
  });

  test('has the addon that was given where it is looked for', () => {
    expect(readFileSync(packed('build', 'native', 'gradamp.node'), 'utf8')).toBe('addon');
    expect(existsSync(packed('build', 'native', 'build-info.json'))).toBe(true);
  });

  test('runs tests by itself', () => {
    const vitest = packed('node_modules', 'vitest', 'vitest.mjs');
    const { stdout, status } = spawnSync(
      packed('bin', 'node'),
      [vitest, 'run', 'tests/engines/loss.test.ts'],
      {
        encoding: 'utf8',
        cwd: packed(),
        env: { PATH: '/usr/bin:/bin', HOME: folder },
      },
    );
    expect(stdout).toMatch(/1 passed/);
    expect(status).toBe(0);
  });

  test('holds what an addon is built from, and of the packages no types, maps or compilers', () => {
    for (const path of [
      ['src', 'engines', 'torch', 'native', 'CMakeLists.txt'],
      ['scripts', 'native', 'build.mjs'],
      ['node_modules', 'node-api-headers', 'include', 'node_api.h'],
      ['node_modules', 'node-addon-api', 'napi.h'],
      ['bench', 'gpu.sh'],
      ['bench', 'peers', 'train_step.py'],
    ]) {
      expect(existsSync(packed(...path))).toBe(true);
    }
    const files = readdirSync(packed('node_modules'), { recursive: true, encoding: 'utf8' });
    expect(files.filter((name) => /\.(map|d\.ts|md)$/.test(name))).toEqual([]);
    expect(files.filter((name) => /^(typescript|@typescript|@biomejs|lightningcss)/.test(name))).toEqual([]);
    expect(files.filter((name) => /^zod\/LICENSE/.test(name))).toHaveLength(1);
  });
});
