// `gradamp init`: the file that it writes is a config, and no other file is touched.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { startingConfig } from '../../src/cli/init.ts';
import { checkConfig, loadConfig } from '../../src/config/load.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

function setUp() {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-init-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const init = (...options: string[]) => {
    const arguments_ = [MAIN, 'init', ...options];
    const { status, stdout, stderr } = spawnSync(process.execPath, arguments_, {
      cwd: folder,
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  };
  return { folder, init };
}

test('writes gradamp.yaml, which is a config', () => {
  const { folder, init } = setUp();
  expect(init()).toEqual({
    status: 0,
    stdout:
      'gradamp.yaml written; check it with `gradamp train gradamp.yaml --dry-run`, get its data with `gradamp data download cifar10`\n',
    stderr: '',
  });
  expect(readdirSync(folder)).toEqual(['gradamp.yaml']);
  expect(loadConfig(join(folder, 'gradamp.yaml'))).toMatchObject({
    model: { name: 'resnet20', width: 1 },
    dataDir: 'data/cifar10',
    amplification: { measure: 'G', case: 1, threshold: 1.5, selection: 'threshold' },
  });
});

test('tells the file as JSON where asked', () => {
  const { stdout } = setUp().init('--json', 'my.yaml');
  expect(JSON.parse(stdout)).toEqual({ file: 'my.yaml', schema: false });
});

test('every line that is off can be switched on', () => {
  const text = startingConfig(false);
  const off = text.match(/^#\S.*$/gm) ?? [];
  expect(off.length).toBe(14);
  for (const line of off) {
    const changed = text.replace(`\n${line}\n`, `\n${line.slice(1)}\n`);
    const [key] = line.slice(1).split(':');
    expect(checkConfig(parse(changed), line)).toHaveProperty(key);
  }
  expect(() => checkConfig(parse(text.replace(/^#(?=\S)/gm, '')), 'all')).not.toThrow();
});

test('names the schema for editors where it lies beside the config', () => {
  const { folder, init } = setUp();
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'sub/gradamp.schema.json'), '{}');
  expect(init('sub/run.yaml').status).toBe(0);
  expect(init('run.yaml').status).toBe(0);
  const firstLine = (file: string) => readFileSync(join(folder, file), 'utf8').split('\n')[0];
  expect(firstLine('sub/run.yaml')).toBe('# yaml-language-server: $schema=gradamp.schema.json');
  expect(firstLine('run.yaml')).toMatch(/^# A gradamp config\./);
});

test.each([
  ['mine.yaml', 'mine.yaml: is there already; expected the name of a new file'],
  ['no/run.yaml', 'no/run.yaml: cannot be written; expected a name in a folder that is there'],
  ['mine.yaml/run.yaml', 'mine.yaml/run.yaml: cannot be written; expected a name in a folder that is there'],
])('replaces nothing and makes no folders: %s', (file, message) => {
  const { folder, init } = setUp();
  writeFileSync(join(folder, 'mine.yaml'), 'mine');
  expect(init(file)).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  expect(readFileSync(join(folder, 'mine.yaml'), 'utf8')).toBe('mine');
  expect(readdirSync(folder)).toEqual(['mine.yaml']);
});
