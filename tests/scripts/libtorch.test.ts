// scripts/native/libtorch.mjs: where a libtorch is looked for, in which order, and which ones will not do. The libtorchs
// and Pythons here are files with the names and texts that are looked at.

import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
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
    cuda: null,
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

test('the strings of C++98 and the newer place of the version are seen', () => {
  putLibtorch('named', '1.0.0', 'std::string');
  // The older header is there too in newer versions, and includes the newer one.
  put('named/include/torch/headeronly/version.h', '#define TORCH_VERSION \\\n  "2.13.0"\n');
  put('named/include/torch/csrc/api/include/torch/version.h', '#include <torch/headeronly/version.h>\n');
  expect(find({ LIBTORCH: at('named') }).found).toMatchObject({
    version: '2.13.0',
    oldStrings: true,
  });
});

describe('a libtorch with CUDA', () => {
  const HEADERS = ['nvrtc.h', 'cublas_v2.h', 'cublasLt.h', 'cusparse.h', 'cusolverDn.h'];

  function putHeaders(include: string, version: string, names: readonly string[] = HEADERS): void {
    const [major, minor] = version.split('.').map(Number);
    put(`${include}/cuda_runtime_api.h`, `#define CUDART_VERSION  ${1000 * major + 10 * minor}\n`);
    for (const name of names) put(`${include}/${name}`);
  }

  /** As CUDA's own installer puts it. */
  function putToolkit(path: string, version: string): void {
    putHeaders(`${path}/include`, version);
    const major = version.split('.')[0];
    for (const name of ['cudart', 'nvrtc']) put(`${path}/lib64/lib${name}.so.${major}`);
  }

  /** As pip puts it, with its runtime linked by that name. */
  function putCudaTorch(runtime = 'libcudart.so.13'): void {
    putLibtorch('site/torch', '2.11.0');
    put('site/torch/lib/libtorch_cuda.so');
    put('site/torch/lib/libc10_cuda.so', `\0libc10.so\0${runtime}\0libdl.so.2\0`);
    putPython('bin/python3', 'site/torch');
  }

  const own = ['site/torch/lib/libtorch_cuda.so', 'site/torch/lib/libc10_cuda.so'];

  test("takes the headers and libraries of NVIDIA's wheels beside it, as those of CUDA 13 lie", () => {
    putCudaTorch();
    putHeaders('site/nvidia/cu13/include', '13.0');
    const libraries = ['cu13/lib/libcudart.so.13', 'cu13/lib/libnvrtc.so.13', 'nccl/lib/libnccl.so.2'];
    for (const name of libraries) put(`site/nvidia/${name}`);
    put('site/nvidia/cu13/lib/libnvrtc-builtins.so.13.0');
    put('site/nvidia/cu13/lib/libnvrtc.alt.so.13');
    put('site/nvidia/nccl/include/nccl.h');
    expect(find().found?.cuda).toEqual({
      version: '13.0',
      include: [at('site/nvidia/cu13/include'), at('site/nvidia/nccl/include')],
      libraries: [...own, ...libraries.map((name) => `site/nvidia/${name}`)].map(at),
    });
  });

  test('takes them as those of CUDA 12 lie, a folder for each part', () => {
    putCudaTorch('libcudart.so.12');
    putHeaders('site/nvidia/cuda_runtime/include', '12.6', []);
    for (const [part, names] of Object.entries({
      cublas: ['cublas_v2.h', 'cublasLt.h'],
      cusparse: ['cusparse.h'],
      cusolver: ['cusolverDn.h'],
      cuda_nvrtc: ['nvrtc.h'],
    }))
      for (const name of names) put(`site/nvidia/${part}/include/${name}`);
    const libraries = ['cuda_runtime/lib/libcudart.so.12', 'cuda_nvrtc/lib/libnvrtc.so.12'];
    for (const name of libraries) put(`site/nvidia/${name}`);
    expect(find().found?.cuda).toEqual({
      version: '12.6',
      include: ['cublas', 'cuda_nvrtc', 'cuda_runtime', 'cusolver', 'cusparse'].map((part) =>
        at(`site/nvidia/${part}/include`),
      ),
      libraries: [...own, ...libraries.map((name) => `site/nvidia/${name}`)].map(at),
    });
  });

  test('takes CUDA_HOME before the wheels, and the system after them', () => {
    putCudaTorch();
    putToolkit('usr/local/cuda', '13.1');
    expect(find().found?.cuda).toMatchObject({ version: '13.1' });
    putToolkit('site/nvidia/cu13', '13.0');
    put('site/nvidia/cu13/lib/libcudart.so.13');
    put('site/nvidia/cu13/lib/libnvrtc.so.13');
    expect(find().found?.cuda).toMatchObject({ version: '13.0' });
    putToolkit('opt', '13.2');
    for (const name of ['CUDA_HOME', 'CUDA_PATH']) {
      expect(find({ [name]: at('opt') }).found?.cuda).toMatchObject({
        version: '13.2',
        include: [at('opt/include')],
        libraries: [
          ...own,
          'site/nvidia/cu13/lib/libcudart.so.13',
          'site/nvidia/cu13/lib/libnvrtc.so.13',
        ].map(at),
      });
    }
  });

  test('takes NCCL and cuDNN of the wheels with any toolkit', () => {
    putCudaTorch();
    for (const name of [
      'cudnn/include/cudnn.h',
      'nccl/include/nccl.h',
      'nccl/lib/libnccl.so.2',
      'nvshmem/include/nvshmem.h',
    ])
      put(`site/nvidia/${name}`);
    putToolkit('opt', '13.2');
    expect(find({ CUDA_HOME: at('opt') }).found?.cuda).toEqual({
      version: '13.2',
      include: ['opt/include', 'site/nvidia/cudnn/include', 'site/nvidia/nccl/include'].map(at),
      libraries: [
        ...own,
        'opt/lib64/libcudart.so.13',
        'opt/lib64/libnvrtc.so.13',
        'site/nvidia/nccl/lib/libnccl.so.2',
      ].map(at),
    });
  });

  test('links the runtime that it has in its own folder', () => {
    putCudaTorch('libcudart-9335f6a2.so.12');
    putToolkit('usr/local/cuda', '12.4');
    put('site/torch/lib/libcudart-9335f6a2.so.12');
    put('site/torch/lib/libnvrtc-b51b459d.so.12');
    put('site/torch/lib/libnvrtc-builtins.so.12.4');
    put('site/torch/lib/libnccl.so.20');
    expect(find().found?.cuda).toMatchObject({
      libraries: [
        ...own,
        'site/torch/lib/libcudart-9335f6a2.so.12',
        'site/torch/lib/libnvrtc-b51b459d.so.12',
      ].map(at),
    });
  });

  test('without headers, or with those of another CUDA, is one for processors, and every place is told', () => {
    putCudaTorch();
    putToolkit('opt', '12.4');
    putHeaders('site/nvidia/cu13/include', '13.0', HEADERS.slice(1));
    putHeaders('usr/local/cuda/include', '13.0');
    const { found } = find({ CUDA_HOME: at('opt') });
    expect(found).toMatchObject({ version: '2.11.0' });
    expect(found?.cuda).toEqual({
      problem: [
        `${at('opt')}: is CUDA 12.4, but libtorch runs on CUDA 13`,
        `${at('site/nvidia')}: no nvrtc.h`,
        `${at('usr/local/cuda')}: no libcudart.so.13, no libnvrtc.so.13`,
      ].join('; '),
    });
  });
});
