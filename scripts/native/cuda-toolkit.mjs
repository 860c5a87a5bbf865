// What a build with CUDA takes beside a libtorch that has it: headers and the libraries that libtorch itself loads.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Those that the headers of ATen and our sources include. */
const HEADERS = ['cuda_runtime_api.h', 'nvrtc.h', 'cublas_v2.h', 'cublasLt.h', 'cusparse.h', 'cusolverDn.h'];
/** No part of a toolkit, but of the wheels: their headers are taken from there, whichever toolkit it is. */
const BESIDE = ['cudnn', 'nccl'];
/** Where CUDA's own installer puts it. */
const SYSTEM = '/usr/local/cuda';

/**
 * Looks in `CUDA_HOME` or `CUDA_PATH`, in NVIDIA's wheels beside torch, and in /usr/local/cuda.
 *
 * @param options.lib libtorch's library folder.
 * @param options.wheels the folder `nvidia` of Python's packages, in whatever layout: a folder `include` and a folder
 * `lib` in each of its folders.
 * @returns `problem`, one line; or `version`, `include` and `libraries`.
 */
export function findCuda({ lib, environment = process.env, wheels, system = SYSTEM }) {
  const runtime = neededRuntime(join(lib, 'libc10_cuda.so'));
  const named = environment.CUDA_HOME || environment.CUDA_PATH;
  const parts = wheels && existsSync(wheels) ? readdirSync(wheels).sort() : [];
  const among = (names, folder) =>
    names.map((name) => join(wheels, name, folder)).filter((path) => existsSync(path));
  const beside = among(
    parts.filter((part) => BESIDE.includes(part)),
    'include',
  );
  const toolkit = (folder) => ({
    where: folder,
    include: [join(folder, 'include'), ...beside],
    lib: [join(folder, 'lib64'), join(folder, 'lib')],
  });
  const places = [
    ...(named ? [toolkit(named)] : []),
    ...(parts.length > 0 ? [{ where: wheels, include: among(parts, 'include'), lib: [] }] : []),
    toolkit(system),
  ];
  // What libtorch itself loads stands before a toolkit's, which may be older: whichever is linked is loaded for both.
  const own = [lib, ...among(parts, 'lib')];
  const problems = [];
  for (const place of places) {
    const outcome = inspectPlace(place, { lib, own, runtime });
    if (outcome.problem === undefined) return outcome;
    problems.push(`${place.where}: ${outcome.problem}`);
  }
  return { problem: problems.join('; ') };
}

function inspectPlace(place, { lib, own, runtime }) {
  const missing = HEADERS.filter((name) => !place.include.some((folder) => existsSync(join(folder, name))));
  if (missing.length > 0) return { problem: `no ${missing.join(', no ')}` };
  const { major, minor } = headerVersion(place.include);
  if (runtime && Number(runtime.major) !== major) {
    return { problem: `is CUDA ${major}.${minor}, but libtorch runs on CUDA ${runtime.major}` };
  }
  const folders = [...own, ...place.lib].filter((folder) => existsSync(folder));
  const versioned = (name, version) =>
    findLibrary(folders, new RegExp(`^lib${name}(-[\\da-f]+)?\\.so\\.${version}(\\.|$)`));
  const cudart = runtime ? findLibrary(folders, runtime.name) : versioned('cudart', major);
  const nvrtc = versioned('nvrtc', major);
  const nccl = versioned('nccl', 2);
  const absent = [...(cudart ? [] : [`libcudart.so.${major}`]), ...(nvrtc ? [] : [`libnvrtc.so.${major}`])];
  if (absent.length > 0) return { problem: `no ${absent.join(', no ')}` };
  const libtorch = ['libtorch_cuda.so', 'libc10_cuda.so'].map((name) => join(lib, name));
  return {
    version: `${major}.${minor}`,
    include: place.include,
    libraries: [...libtorch, cudart, nvrtc, ...(nccl ? [nccl] : [])],
  };
}

/** What libtorch's own library links: another of the same process would have a state of its own. */
function neededRuntime(library) {
  if (!existsSync(library)) return undefined;
  const match = /libcudart[-\w]*\.so\.(\d+)[.\d]*/.exec(readFileSync(library, 'latin1'));
  return match ? { name: match[0], major: match[1] } : undefined;
}

/** The first file of that name, or whose name begins so; the shortest, where there are links to it. */
function findLibrary(folders, name) {
  const fits = (file) => (typeof name === 'string' ? file === name : name.test(file));
  const found = folders.flatMap((folder) =>
    readdirSync(folder)
      .filter(fits)
      .sort((a, b) => a.length - b.length)
      .map((file) => join(folder, file)),
  );
  return found[0];
}

function headerVersion(include) {
  const header = include.map((folder) => join(folder, 'cuda_runtime_api.h')).find((path) => existsSync(path));
  const version = Number(/define\s+CUDART_VERSION\s+(\d+)/.exec(readFileSync(header, 'utf8'))?.[1] ?? 0);
  return { major: Math.floor(version / 1000), minor: Math.floor((version % 1000) / 10) };
}
