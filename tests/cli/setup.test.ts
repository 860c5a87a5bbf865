// scripts/setup.mjs in a small project of its own, where npm and the compiler are stand-ins that count their calls.

import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const SCRIPTS = fileURLToPath(new URL('../../scripts', import.meta.url));
/** Of a checkout without the packages that the native addon is built with. */
const NO_TORCH =
  'setup: no engine torch: no node_modules/node-api-headers/include, no node_modules/node-addon-api; `npm run setup:native` gets what is missing';

const MANIFEST = { type: 'module', engines: { node: '>=20.11' }, dependencies: { one: '^1.0.0' } };
const LOCK = {
  packages: { '': { dependencies: { one: '^1.0.0' } }, 'node_modules/one': { version: '1.0.0' } },
};

// Installs what the lockfile says and a compiler that copies src and makes two entries; both say in calls.log that
// they ran, and the compiler says in dist.log what it saw in dist.
const NPM = `
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
appendFileSync('calls.log', 'npm ' + process.argv.slice(2, 3) + '\\n');
await new Promise((resolve) => setTimeout(resolve, 100));
if (readFileSync('package-lock.json', 'utf8').includes('broken')) {
  console.error('npm error: no such package'); process.exit(7);
}
rmSync('node_modules', { recursive: true, force: true });
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const installed = Object.entries(packages).filter(([path, { optional }]) => path && !optional);
for (const [path, { lost }] of installed) if (!lost) mkdirSync(path, { recursive: true });
mkdirSync('node_modules/typescript/bin', { recursive: true });
writeFileSync('node_modules/typescript/package.json', '{"version":"7.0.2","type":"commonjs"}');
writeFileSync('node_modules/typescript/bin/tsc', \`
const { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } = require('node:fs');
appendFileSync('calls.log', 'tsc\\\\n');
writeFileSync('dist.log', existsSync('dist') ? readdirSync('dist').sort().join(' ') : 'nothing');
const out = process.argv[process.argv.indexOf('--outDir') + 1];
for (const file of readdirSync('src')) {
  if (readFileSync('src/' + file, 'utf8') === 'error') { console.log(file + ': error TS1'); process.exit(2); }
}
cpSync('src', out, { recursive: true });
for (const folder of ['src/cli', 'workers']) mkdirSync(out + '/' + folder, { recursive: true });
for (const entry of ['src/cli/main.js', 'workers/replica.js']) writeFileSync(out + '/' + entry, '');
\`);
writeFileSync('node_modules/.package-lock.json', JSON.stringify({ packages: Object.fromEntries(installed) }));
`;

let folder: string;
const at = (path: string) => join(folder, path);
const calls = () =>
  existsSync(at('calls.log')) ? readFileSync(at('calls.log'), 'utf8').trim().split('\n') : [];

function put(path: string, text: string): void {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), text);
}

const environment = () => ({
  ...process.env,
  npm_execpath: at('npm/npm-cli.js'),
  PATH: `${at('bin')}:${process.env.PATH}`,
  CXX: 'c++',
  LIBTORCH: at('libtorch'),
});

function putProgram(path: string, script: string): void {
  put(path, `#!/bin/sh\n${script}\n`);
  chmodSync(at(path), 0o755);
}

/** All that a native build takes; the compiler is never reached, as cmake fails. */
function putNativeInputs(): void {
  for (const path of ['node-api-headers/include', 'node-addon-api'])
    mkdirSync(at(`node_modules/${path}`), { recursive: true });
  put('src/engines/torch/native/CMakeLists.txt', '1');
  for (const path of ['lib/libtorch_cpu.so', 'lib/libc10.so', 'include/ATen/Functions.h'])
    put(`libtorch/${path}`, '');
  put('libtorch/include/torch/headeronly/version.h', '#define TORCH_VERSION \\\n  "2.1.0"');
}

function setUp(...options: string[]) {
  const command = [at('scripts/setup.mjs'), ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    encoding: 'utf8',
    env: environment(),
  });
  return { status, stdout, stderr };
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-setup-test-'));
  cpSync(SCRIPTS, at('scripts'), { recursive: true });
  put('npm/npm-cli.js', NPM);
  putProgram('bin/cmake', 'echo cmake >> calls.log; echo cmake error; exit 3');
  put('package.json', JSON.stringify(MANIFEST));
  put('package-lock.json', JSON.stringify(LOCK));
  put('src/a.ts', '1');
  put('src/b.ts', '1');
});

afterEach(() => rmSync(folder, { recursive: true }));

test('a fresh checkout is installed and compiled, a second run does nothing, quickly', () => {
  const first = setUp();
  expect(first.stderr).toBe('');
  expect(first.status).toBe(0);
  expect(calls()).toEqual(['npm install', 'tsc']);
  expect(first.stdout).toMatch(/^setup: installing the packages of package-lock\.json \.\.\.$/m);
  expect(first.stdout).toMatch(/^setup: compiling \(tsc\): done in \d+ s$/m);
  expect(first.stdout).toMatch(/^setup: ready \(Node [\d.]+; packages and build are up to date\)$/m);
  expect(existsSync(at('dist/a.ts'))).toBe(true);

  const started = performance.now();
  const second = setUp();
  expect(performance.now() - started).toBeLessThan(2000);
  expect(second.stdout.trim().split('\n')).toEqual([NO_TORCH, expect.stringMatching(/^setup: ready /)]);
  expect(setUp('--quiet')).toEqual({ status: 0, stdout: '', stderr: '' });
  expect(calls()).toEqual(['npm install', 'tsc']);
});

test('a native build that fails is told in a line, fails nothing, and is tried again only after a change', () => {
  const line = 'setup: no engine torch: its addon could not be built; `npm run build:native` shows why';
  setUp();
  putNativeInputs();
  const { status, stdout } = setUp();
  expect(status).toBe(0);
  expect(stdout.trim().split('\n')).toEqual([
    `setup: libtorch 2.1.0: LIBTORCH=${at('libtorch')}`,
    'setup: configuring (cmake) ...',
    line,
    expect.stringMatching(/^setup: ready /),
  ]);
  expect(setUp().stdout).toContain(`${line}\n`);
  expect(setUp('--quiet')).toEqual({ status: 0, stdout: '', stderr: '' });
  expect(calls().filter((call) => call === 'cmake')).toHaveLength(1);
  put('src/engines/torch/native/CMakeLists.txt', '2');
  setUp();
  expect(calls().filter((call) => call === 'cmake')).toHaveLength(2);

  const command = [at('scripts/native/build.mjs')];
  const build = spawnSync(process.execPath, command, { cwd: folder, encoding: 'utf8', env: environment() });
  expect(build.status).toBe(1);
  expect(build.stderr).toBe('native: configuring (cmake) failed: exit code 3\ncmake error\n');
});

test('a libtorch that was asked for and does not fit is told, with where it was looked for', () => {
  setUp();
  putNativeInputs();
  rmSync(at('libtorch/lib'), { recursive: true });
  const problem = `no fitting libtorch in ${at('libtorch')}; correct or unset LIBTORCH`;
  expect(setUp().stdout.split('\n')[0]).toBe(`setup: no engine torch: ${problem}`);
  const command = [at('scripts/native/build.mjs')];
  const { stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', env: environment() });
  expect(stderr.trim().split('\n')).toEqual([
    `native: ${problem}`,
    '  libtorch was looked for, in this order:',
    `  LIBTORCH=${at('libtorch')}: no ${at('libtorch/lib/libtorch_cpu.so')}`,
  ]);
});

test('a changed, new or removed source is compiled, and nothing stays of a removed one', () => {
  setUp();
  put('src/a.ts', '2');
  setUp();
  expect(readFileSync(at('dist/a.ts'), 'utf8')).toBe('2');
  put('src/c.ts', '1');
  setUp();
  rmSync(at('src/b.ts'));
  setUp();
  expect(existsSync(at('dist/b.ts'))).toBe(false);
  expect(existsSync(at('dist/c.ts'))).toBe(true);
  expect(calls()).toEqual(['npm install', 'tsc', 'tsc', 'tsc', 'tsc']);
});

test('a changed lockfile is installed; what npm installed by hand is taken as it is', () => {
  setUp();
  const two = { ...LOCK.packages, 'node_modules/two': { version: '2.0.0' } };
  put('package-lock.json', JSON.stringify({ packages: two }));
  setUp();
  expect(calls()).toEqual(['npm install', 'tsc', 'npm install']);

  put('node_modules/two/package.json', '{}');
  put(
    'package-lock.json',
    JSON.stringify({ packages: { ...two, 'node_modules/mac': { version: '1.0.0', optional: true } } }),
  );
  const installed = { 'node_modules/one': { version: '1.0.0' }, 'node_modules/two': { version: '2.0.0' } };
  put('node_modules/.package-lock.json', JSON.stringify({ packages: installed }));
  setUp();
  expect(calls()).toHaveLength(3);
});

test('a package that somebody removed is installed again; one for another platform need not be there', () => {
  const mac = { 'node_modules/mac': { version: '1.0.0', optional: true } };
  put('package-lock.json', JSON.stringify({ packages: { ...LOCK.packages, ...mac } }));
  setUp();
  setUp();
  expect(calls()).toEqual(['npm install', 'tsc']);
  rmSync(at('node_modules/one'), { recursive: true });
  expect(setUp().status).toBe(0);
  expect(existsSync(at('node_modules/one'))).toBe(true);
  expect(calls()).toEqual(['npm install', 'tsc', 'npm install']);
});

test('a package that npm does not install, though it ends without an error, is an error', () => {
  const lost = { 'node_modules/lost': { version: '1.0.0', lost: true } };
  put('package-lock.json', JSON.stringify({ packages: { ...LOCK.packages, ...lost } }));
  const { status, stderr } = setUp();
  expect(status).toBe(1);
  expect(stderr).toBe('setup: npm ended without an error, but node_modules/lost is not there\n');
});

test.each(['dist/workers', 'dist/src'])('%s that somebody removed is compiled again', (path) => {
  setUp();
  rmSync(at(path), { recursive: true });
  expect(setUp().status).toBe(0);
  expect(existsSync(at(path))).toBe(true);
  expect(calls()).toEqual(['npm install', 'tsc', 'tsc']);
});

test('the earlier build is there while a new one is made, and stays where that fails', () => {
  setUp();
  put('dist.new-1/a.ts', 'of a set-up that was killed');
  put('src/a.ts', '2');
  setUp();
  expect(readFileSync(at('dist.log'), 'utf8')).toBe('.gradamp-build a.ts b.ts src workers');
  expect(readFileSync(at('dist/a.ts'), 'utf8')).toBe('2');
  put('src/a.ts', 'error');
  expect(setUp().status).toBe(1);
  expect(readFileSync(at('dist/a.ts'), 'utf8')).toBe('2');
  expect(readdirSync(folder).filter((name) => /^dist\.(new|old)|^\.setup-lock/.test(name))).toEqual([]);
});

test('a lockfile that is missing or none of npm is an error of one line', () => {
  const remedy = 'get it back with `git checkout package-lock.json`, or make a new one with `npm install`';
  const lock = join(realpathSync(folder), 'package-lock.json');
  rmSync(at('package-lock.json'));
  expect(setUp()).toEqual({
    status: 1,
    stdout: '',
    stderr: `setup: ${lock}: expected npm's lockfile, found nothing; ${remedy}\n`,
  });
  for (const text of ['{', '{}', 'null']) {
    put('package-lock.json', text);
    expect(setUp().stderr).toBe(`setup: ${lock}: expected npm's lockfile, got something else; ${remedy}\n`);
  }
});

test('a Node older than package.json asks for is an error', () => {
  put('package.json', JSON.stringify({ ...MANIFEST, engines: { node: '>=99.1' } }));
  expect(setUp()).toEqual({
    status: 1,
    stdout: '',
    stderr: `setup: expected Node 99.1 or newer, got ${process.versions.node}; see https://nodejs.org\n`,
  });
  expect(calls()).toEqual([]);
});

test('a package.json that its lockfile does not know is an error', () => {
  put('package.json', JSON.stringify({ ...MANIFEST, dependencies: { one: '^1.0.0', two: '*' } }));
  expect(setUp()).toEqual({
    status: 1,
    stdout: '',
    stderr: 'setup: package.json and package-lock.json differ in dependencies; run `npm install`\n',
  });
  expect(calls()).toEqual([]);
});

test('an installation that fails shows the end of what npm said', () => {
  put('package-lock.json', JSON.stringify({ ...LOCK, broken: true }));
  const { status, stderr } = setUp();
  expect(status).toBe(1);
  expect(stderr).toBe(
    'setup: installing the packages of package-lock.json failed: exit code 7\nnpm error: no such package\n',
  );
});

test('a build that fails shows its errors, and is tried again', () => {
  put('src/b.ts', 'error');
  const { status, stderr } = setUp();
  expect(status).toBe(1);
  expect(stderr).toBe('setup: compiling (tsc) failed: exit code 2\nb.ts: error TS1\n');
  expect(setUp().status).toBe(1);
  put('src/b.ts', '1');
  expect(setUp().status).toBe(0);
});

test('of several at once one does the work and the others wait for it', async () => {
  const runs = [1, 2, 3, 4].map(
    () =>
      new Promise<number | null>((resolve) => {
        spawn(process.execPath, [at('scripts/setup.mjs')], { env: environment(), stdio: 'ignore' }).on(
          'close',
          resolve,
        );
      }),
  );
  expect(await Promise.all(runs)).toEqual([0, 0, 0, 0]);
  expect(calls()).toEqual(['npm install', 'tsc']);
});

test('the lock of a set-up that was killed is taken over; it lies in the checkout', async () => {
  const killed = spawn(process.execPath, [at('scripts/setup.mjs')], { env: environment(), stdio: 'ignore' });
  while (calls().length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  killed.kill('SIGKILL');
  await new Promise((resolve) => killed.on('close', resolve));
  expect(readFileSync(at('.setup-lock/pid'), 'utf8')).toBe(String(killed.pid));
  // npm, whose parent is gone, ends by itself.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const { status, stderr } = setUp();
  expect(stderr).toBe('');
  expect(status).toBe(0);
});
