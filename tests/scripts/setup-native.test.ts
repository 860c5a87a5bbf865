// scripts/native/setup.mjs in a small project of its own: what it would install, and that it says so first. Package
// managers, Python and CMake are stand-ins that note their calls; CMake fails, so that nothing is compiled.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
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
const CPU_WHEELS = existsSync('/proc/driver/nvidia')
  ? ''
  : ' --extra-index-url https://download.pytorch.org/whl/cpu';

let folder: string;
const at = (path: string) => join(folder, path);
const calls = () =>
  existsSync(at('calls.log')) ? readFileSync(at('calls.log'), 'utf8').trim().split('\n') : [];

function put(path: string, text = ''): void {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), text);
}

function putProgram(path: string, script: string): void {
  put(path, `#!/bin/sh\n${script}\n`);
  chmodSync(at(path), 0o755);
}

function setUp(environment: Record<string, string> = {}, ...options: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [at('scripts/native/setup.mjs'), ...options],
    {
      cwd: folder,
      encoding: 'utf8',
      // A Python of its own asks for less than the machine's libtorch.
      env: { PATH: at('bin'), LIBTORCH_USE_PYTORCH: '1', ...environment },
    },
  );
  return { status, stdout: stdout.trim().split('\n'), stderr };
}

/** Its venv has a Python whose pip "installs" a torch of that version. */
function putPython(version: string): void {
  const python = [
    '#!/bin/sh',
    `echo "python $*" >> ${at('calls.log')}`,
    `if [ "$2" = pip ]; then /bin/cp -r ${at('wheel')} ${at('.venv/torch')}; fi`,
    `if [ "$1" = -c ] && [ -d ${at('.venv/torch')} ]; then echo ${at('.venv/torch')}; fi`,
  ].join('\n');
  put('python.sh', `${python}\n`);
  const venv = `/bin/mkdir -p ${at('.venv/bin')}; /bin/cp ${at('python.sh')} ${at('.venv/bin/python')}; /bin/chmod 755 ${at('.venv/bin/python')}`;
  putProgram('bin/python3', `if [ "$2" = venv ]; then echo "python3 $*" >> ${at('calls.log')}; ${venv}; fi`);
  for (const path of ['lib/libtorch_cpu.so', 'lib/libc10.so', 'include/ATen/Functions.h'])
    put(`wheel/${path}`);
  put('wheel/include/torch/headeronly/version.h', `#define TORCH_VERSION \\\n  "${version}"`);
}

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'gradamp-setup-native-')));
  cpSync(SCRIPTS, at('scripts'), { recursive: true });
  for (const path of ['node-api-headers/include', 'node-addon-api'])
    mkdirSync(at(`node_modules/${path}`), { recursive: true });
  put('src/engines/torch/native/CMakeLists.txt');
  putProgram('bin/cmake', 'echo "cmake failed"; exit 3');
  putProgram('bin/c++', 'exit 1');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('without a torch it says what it will run, makes .venv, gets torch with pip, and builds for it', () => {
  putPython('2.13.0');
  const venv = `${at('bin/python3')} -m venv ${at('.venv')}`;
  const pip = `${at('.venv/bin/python')} -m pip install torch${CPU_WHEELS}`;
  const announced = [
    `native: will run: ${venv} (making the Python environment .venv)`,
    `native: will run: ${pip} (installing torch into .venv (pip))`,
  ];
  expect(setUp({}, '--dry-run')).toEqual({ status: 0, stdout: announced, stderr: '' });
  expect(calls()).toEqual([]);

  const { status, stdout, stderr } = setUp();
  expect(stdout).toEqual([
    ...announced,
    'native: making the Python environment .venv ...',
    expect.stringMatching(/^native: making the Python environment \.venv: done in \d+ s$/),
    'native: installing torch into .venv (pip) ...',
    expect.stringMatching(/^native: installing torch into \.venv \(pip\): done in \d+ s$/),
    `native: libtorch 2.13.0: torch of ${at('.venv/bin/python')}`,
    'native: configuring (cmake) ...',
  ]);
  expect(stderr).toBe('native: configuring (cmake) failed: exit code 3\ncmake failed\n');
  expect(status).toBe(1);
  expect(calls().slice(0, 2)).toEqual([
    `python3 -m venv ${at('.venv')}`,
    `python -m pip install torch${CPU_WHEELS}`,
  ]);

  // What is there is not installed again.
  expect(setUp().stdout).toEqual([
    `native: libtorch 2.13.0: torch of ${at('.venv/bin/python')}`,
    'native: configuring (cmake) ...',
  ]);
});

test.each([
  [['bin/c++'], {}, /^native: no C\+\+ compiler, and only root may install one: `apt-get install g\+\+`/],
  [
    [],
    {},
    /^native: no python3 to get torch with; install it, or unpack a libtorch from https:\/\/pytorch\.org/,
  ],
  [
    ['node_modules/node-addon-api'],
    {},
    /^native: no node_modules\/node-addon-api; run `node scripts\/setup\.mjs` first\n$/,
  ],
  [
    [],
    { LIBTORCH: '/nowhere' },
    /^native: no fitting libtorch in \/nowhere; correct or unset LIBTORCH\n {2}LIBTORCH=\/nowhere: no such folder\n$/,
  ],
])('where there is no way to it, it says so: without %j, %j', (removed, environment, message) => {
  for (const path of removed) rmSync(at(path), { recursive: true });
  const { status, stderr } = setUp(environment);
  expect(stderr).toMatch(message);
  expect(status).toBe(1);
});

test('root gets the tools as packages, and a Python that is asked for still has its torch from pip', () => {
  putPython('2.13.0');
  putProgram('bin/apt-get', `echo "apt-get $*" >> ${at('calls.log')}`);
  rmSync(at('bin/cmake'));
  const { stdout } = setUp({}, '--dry-run');
  const packages =
    process.getuid?.() === 0
      ? [
          `native: will run: ${at('bin/apt-get')} update (renewing the package lists (apt-get update))`,
          `native: will run: ${at('bin/apt-get')} install --yes --no-install-recommends cmake (installing cmake (apt-get))`,
        ]
      : [];
  const names = process.getuid?.() === 0 ? 'torch' : 'cmake torch';
  expect(stdout.slice(0, packages.length)).toEqual(packages);
  expect(stdout.at(-1)).toContain(`-m pip install ${names}${CPU_WHEELS} `);
});
