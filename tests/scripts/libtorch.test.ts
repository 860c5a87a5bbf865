// scripts/native/libtorch.mjs: where a libtorch is looked for, in which order, and which ones will not do. The libtorchs
// and Pythons here are files with the names and texts that are looked at.

import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findLibtorch } from '../../scripts/native/libtorch.mjs';

let folder: string;
const at = (path: string) => join(folder, path);

function put(path: string, text = ''): void {
  mkdirSync(dirname(at(path)), { recursive: true });
  writeFileSync(at(path), text);
}

function putLibtorch(path: string, version: string, strings = 'std::__cxx11::string'): void {
  put(`${path}/include/ATen/Functions.h`);
  put(`${path}/include/torch/csrc/api/include/torch/version.h`, `#define TORCH_VERSION \\\n  "${version}"\n`);
  put(`${path}/lib/libtorch_cpu.so`);
  put(`${path}/lib/libc10.so`, strings);
}

/** A Python that says where its torch is; none without a folder. */
function putPython(path: string, torch = ''): void {
  put(path, `#!/bin/sh\necho ${torch && at(torch)}\n`);
  chmodSync(at(path), 0o755);
}

/** With nothing of this machine in it. */
function find(environment: Record<string, string> = {}) {
  return findLibtorch({
    root: folder,
    environment: { PATH: at('bin'), ...environment },
    prefixes: [at('usr/local'), at('usr')],
  });
}

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'gradamp-libtorch-')));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('LIBTORCH comes first, then the Python of .venv, then python3, then the system', () => {
  putLibtorch('named', '2.13.0');
  putLibtorch('own', '2.1.0');
  putLibtorch('others', '2.2.0');
  putLibtorch('usr', '1.13.0');
  putPython('.venv/bin/python', 'own');
  putPython('bin/python3', 'others');
  const LIBTORCH = at('named');

  const named = find({ LIBTORCH });
  expect(named.tried).toEqual([]);
  expect(named.found).toEqual({
    source: 'LIBTORCH',
    where: `LIBTORCH=${LIBTORCH}`,
    version: '2.13.0',
    include: [at('named/include'), at('named/include/torch/csrc/api/include')],
    libraries: [at('named/lib/libtorch_cpu.so'), at('named/lib/libc10.so')],
    library: at('named/lib/libtorch_cpu.so'),
    cuda: false,
    oldStrings: false,
  });
  expect(find().found).toMatchObject({ source: 'python', version: '2.1.0' });
  rmSync(at('.venv'), { recursive: true });
  const others = find();
  expect(others.found).toMatchObject({ source: 'python', version: '2.2.0' });
  expect(others.tried).toEqual(['LIBTORCH: not set', `torch of ${at('.venv/bin/python')}: not there`]);
  putPython('bin/python3');
  const system = find();
  expect(system.found).toMatchObject({
    source: 'system',
    version: '1.13.0',
    where: `libtorch of ${at('usr')}`,
  });
  expect(system.tried).toEqual([
    'LIBTORCH: not set',
    `torch of ${at('.venv/bin/python')}: not there`,
    `torch of ${at('bin/python3')}: this Python has no torch`,
    `libtorch of ${at('usr/local')}: no libtorch_cpu.so`,
  ]);
});

test('what is asked for is not replaced by another', () => {
  putLibtorch('usr', '1.13.0');
  putPython('bin/python3', 'nowhere');
  const named = find({ LIBTORCH: at('named') });
  expect(named).toEqual({ found: undefined, tried: [`LIBTORCH=${at('named')}: no such folder`] });
  const python = find({ LIBTORCH_USE_PYTORCH: '1' });
  expect(python.found).toBeUndefined();
  expect(python.tried.at(-1)).toBe(`torch of ${at('bin/python3')}: no such folder`);
  expect(find().found).toMatchObject({ source: 'system' });
});

test('with nothing anywhere every place is told', () => {
  expect(find()).toEqual({
    tried: [
      'LIBTORCH: not set',
      `torch of ${at('.venv/bin/python')}: not there`,
      'python3: not on the PATH',
      `libtorch of ${at('usr/local')}: no libtorch_cpu.so`,
      `libtorch of ${at('usr')}: no libtorch_cpu.so`,
    ],
  });
});

test.each([
  ['1.12.1', 'is 1.12.1, expected 1.13 or newer'],
  ['0.4.1', 'is 0.4.1, expected 1.13 or newer'],
])('version %s is too old', (version, problem) => {
  putLibtorch('named', version);
  const LIBTORCH = at('named');
  expect(find({ LIBTORCH }).tried).toEqual([`LIBTORCH=${LIBTORCH}: ${problem}`]);
});

test('a Python whose torch has no headers, or that does not start, is passed over', () => {
  putLibtorch('others', '2.2.0');
  putLibtorch('usr', '1.13.0');
  rmSync(at('others/include/ATen'), { recursive: true });
  putPython('bin/python3', 'others');
  const without = find();
  expect(without.tried).toContain(
    `torch of ${at('bin/python3')}: no ${at('others/include/ATen/Functions.h')}`,
  );
  expect(without.found).toMatchObject({ source: 'system' });
  put('bin/python3', '#!/bin/sh\nexit 1\n');
  expect(find().tried).toContain(`torch of ${at('bin/python3')}: this Python does not start`);
});

test('CUDA, the strings of C++98 and the newer place of the version are seen', () => {
  putLibtorch('named', '1.0.0', 'std::string');
  put('named/lib/libtorch_cuda.so');
  // The older header is there too in newer versions, and includes the newer one.
  put('named/include/torch/headeronly/version.h', '#define TORCH_VERSION \\\n  "2.13.0"\n');
  put('named/include/torch/csrc/api/include/torch/version.h', '#include <torch/headeronly/version.h>\n');
  expect(find({ LIBTORCH: at('named') }).found).toMatchObject({
    version: '2.13.0',
    cuda: true,
    oldStrings: true,
  });
});
