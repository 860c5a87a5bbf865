// Finds a libtorch to build against: a folder that is named, the torch of a Python, or the system's.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { findCuda } from './cuda-toolkit.mjs';

/** Its ATen has all that the addon calls, and its headers compile as C++20. */
export const OLDEST = [1, 13];
const PYTHON_QUESTION =
  'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")';
/** Where Debian's multiarch keeps libraries; elsewhere lib64 and lib. */
const MULTIARCH = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/**
 * Tries, in this order: the folder `LIBTORCH`; the torch of a Python (`.venv` of `root`, then `python3`); the system.
 * What is asked for, by `LIBTORCH` or `LIBTORCH_USE_PYTORCH=1`, is not replaced by what comes behind it.
 *
 * @param prefixes of the system.
 * @returns `tried`: one line for each place that did not have it, in the order in which they were tried; `found`, where
 * one has it, see `inspectFolders`.
 */
export function findLibtorch({ root, environment = process.env, prefixes = ['/usr/local', '/usr'] }) {
  const cudaPlaces = { environment, system: join(prefixes[0], 'cuda') };
  const tried = [];
  const attempt = (source, where, outcome) => {
    if (outcome.problem === undefined) return { source, where, ...outcome };
    tried.push(`${where}: ${outcome.problem}`);
    return undefined;
  };
  const { LIBTORCH, LIBTORCH_USE_PYTORCH } = environment;
  if (LIBTORCH) {
    return { found: attempt('LIBTORCH', `LIBTORCH=${LIBTORCH}`, inspectTorch(LIBTORCH, cudaPlaces)), tried };
  }
  tried.push('LIBTORCH: not set');
  const pythons = [join(root, '.venv', 'bin', 'python'), ...onPath('python3', environment)];
  for (const python of pythons) {
    const found = attempt('python', `torch of ${python}`, inspectPython(python, cudaPlaces));
    if (found) return { found, tried };
  }
  if (pythons.length === 1) tried.push('python3: not on the PATH');
  if (LIBTORCH_USE_PYTORCH === '1') return { tried };
  for (const prefix of prefixes) {
    const found = attempt('system', `libtorch of ${prefix}`, inspectSystem(prefix, cudaPlaces));
    if (found) return { found, tried };
  }
  return { tried };
}

/** The first program of that name on the PATH, as a list of one or none. */
export function onPath(name, environment = process.env) {
  const folders = (environment.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  return found ? [found] : [];
}

/**
 * The torch of that Python.
 *
 * @param cudaPlaces where findCuda looks.
 * @returns as inspectFolders.
 */
export function inspectPython(python, cudaPlaces = {}) {
  if (!existsSync(python)) return { problem: 'not there' };
  const { status, stdout } = spawnSync(python, ['-c', PYTHON_QUESTION], {
    encoding: 'utf8',
    env: cudaPlaces.environment,
  });
  if (status !== 0) return { problem: 'this Python does not start' };
  const folder = stdout.trim();
  return folder === '' ? { problem: 'this Python has no torch' } : inspectTorch(folder, cudaPlaces);
}

/** A folder with `include` and `lib`, as the archives of pytorch.org and the wheels have it. */
function inspectTorch(folder, cudaPlaces) {
  if (!existsSync(folder)) return { problem: 'no such folder' };
  const wheels = join(dirname(folder), 'nvidia');
  return inspectFolders(join(folder, 'include'), join(folder, 'lib'), { ...cudaPlaces, wheels });
}

function inspectSystem(prefix, cudaPlaces) {
  const folders = [MULTIARCH[process.arch], '.', '../lib64'].filter(Boolean);
  const library = folders
    .map((folder) => join(prefix, 'lib', folder))
    .find((folder) => existsSync(join(folder, 'libtorch_cpu.so')));
  if (!library) return { problem: 'no libtorch_cpu.so' };
  return inspectFolders(join(prefix, 'include'), library, cudaPlaces);
}

/**
 * @returns `problem`, or `version`; `include`, folders; `libraries`, files to link; `library`, the one that holds ATen;
 * `cuda`, null where it has no kernels for GPUs, else what findCuda returns; `oldStrings`, whether it was compiled with
 * the strings of C++98.
 */
function inspectFolders(include, lib, cudaPlaces) {
  const [atenLibrary, coreLibrary] = ['libtorch_cpu.so', 'libc10.so'].map((name) => join(lib, name));
  for (const path of [atenLibrary, coreLibrary, join(include, 'ATen', 'Functions.h')]) {
    if (!existsSync(path)) return { problem: `no ${path}` };
  }
  const version = readVersion(include);
  if (version === undefined) return { problem: `no version in the headers of ${include}` };
  const [major, minor] = version.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    return { problem: `is ${version}, expected ${OLDEST.join('.')} or newer` };
  }
  return {
    version,
    include: [include, join(include, 'torch', 'csrc', 'api', 'include')],
    libraries: [atenLibrary, coreLibrary],
    library: realpathSync(atenLibrary),
    cuda: existsSync(join(lib, 'libtorch_cuda.so')) ? findCuda({ lib, ...cudaPlaces }) : null,
    oldStrings: !readFileSync(coreLibrary).includes('__cxx11'),
  };
}

function readVersion(include) {
  const headers = ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h'];
  const header = headers.map((name) => join(include, name)).find((path) => existsSync(path));
  return header && /define TORCH_VERSION\s*\\?\s*"([\d.]+)/.exec(readFileSync(header, 'utf8'))?.[1];
}
