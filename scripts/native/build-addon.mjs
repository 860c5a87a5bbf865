// Builds the addon of the engine torch: finds what that takes, says what it took, and writes build-info.json.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, SetupError, speaker } from '../command.mjs';
import { addonFile, fingerprint, inspectAddon, readBuildInfo, SOURCES, sourceHash } from './addon.mjs';
import { findLibtorch, onPath } from './libtorch.mjs';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Of the kernels, see native/CMakeLists.txt. */
const INSTRUCTION_SETS = process.arch === 'x64' ? ['baseline', 'avx2', 'avx512'] : ['baseline'];
const HEADERS = [join('node_modules', 'node-api-headers', 'include'), join('node_modules', 'node-addon-api')];

/**
 * What a build takes beside libtorch; found without starting anything.
 *
 * @returns `missing`, what is not there, by name; `cmake` and `compiler`, programs.
 */
export function findTools(environment = process.env) {
  const ownCmake = join(ROOT, '.venv', 'bin', 'cmake');
  const [cmake] = [...onPath('cmake', environment), ...(existsSync(ownCmake) ? [ownCmake] : [])];
  const [found] = ['c++', 'g++', 'clang++'].flatMap((name) => onPath(name, environment));
  const compiler = environment.CXX || found;
  const missing = [
    ...HEADERS.filter((folder) => !existsSync(join(ROOT, folder))),
    ...(cmake ? [] : ['cmake']),
    ...(compiler ? [] : ['C++ compiler']),
  ];
  return { missing, cmake, compiler };
}

/** What a build takes: `tools` as findTools, `found` and `tried` as findLibtorch, and all that is `missing`. */
export function findBuildInputs(environment = process.env) {
  const tools = findTools(environment);
  const { found, tried } = findLibtorch({ root: ROOT, environment });
  return { missing: [...tools.missing, ...(found ? [] : ['libtorch'])], tools, found, tried };
}

/**
 * One line that says what a build lacks and what to do; undefined where it lacks nothing.
 *
 * @param missing names.
 */
export function describeMissing(missing, environment = process.env) {
  if (process.platform !== 'linux') return `it is built on Linux only, this is ${process.platform}`;
  if (missing.length === 0) return undefined;
  const { LIBTORCH } = environment;
  const names = missing.map((name) =>
    name === 'libtorch' && LIBTORCH ? `fitting libtorch in ${LIBTORCH}` : name,
  );
  const remedy =
    LIBTORCH && missing.includes('libtorch')
      ? 'correct or unset LIBTORCH'
      : '`npm run setup:native` gets what is missing';
  return `no ${names.join(', no ')}; ${remedy}`;
}

/** @throws SetupError that tells what of findBuildInputs is missing. */
export function requireInputs({ missing, tried }, environment = process.env) {
  const problem = describeMissing(missing, environment);
  if (!problem) return;
  const search = missing.includes('libtorch') ? ['libtorch was looked for, in this order:', ...tried] : [];
  throw new SetupError([problem, ...search].join('\n  '));
}

/**
 * @param options.folder where gradamp.node and build-info.json go; the compiler's files go to its `cmake`.
 * @param options.flags further flags of the compiler and linker, for the sanitizers.
 * @param options.probe whether it is loaded at the end, as all but those with a sanitizer can be.
 * @param options.relocatable whether it names no folder of this machine: the libraries are then found by
 * `LD_LIBRARY_PATH`, here too.
 * @throws SetupError that tells what is missing, or what failed.
 */
export async function buildAddon(program, options) {
  const {
    folder,
    flags = [],
    probe = true,
    relocatable = false,
    environment = process.env,
    inputs = findBuildInputs(environment),
  } = options;
  const say = speaker(program);
  requireInputs(inputs, environment);
  const { version, cuda, where } = inputs.found;
  say(`libtorch ${version}${cuda?.version ? ` with CUDA ${cuda.version}` : ''}: ${where}`);
  if (cuda?.problem) say(`it has CUDA, but the addon is built without: ${cuda.problem}`);
  await compile(program, { ...inputs, folder, flags, relocatable, environment });
  if (!probe) return;
  const inspection = inspectAddon(folder);
  if (inspection.problem) throw new SetupError(`the addon is built but does not load: ${inspection.problem}`);
  rmSync(failureNote(folder), { force: true });
  say(`${addonFile(folder)} is built and loads (${inspection.build.instructionSet})`);
}

/** Where the plain set-up notes what it could not build. */
export const failureNote = (folder) => join(folder, 'failure.txt');

/** What the environment asks for: with another answer, a build is out of date. */
export const askedLibtorch = ({ LIBTORCH = '', LIBTORCH_USE_PYTORCH = '' }) =>
  `${LIBTORCH} ${LIBTORCH_USE_PYTORCH}`.trim();

/**
 * @param options.source folder of a CMakeLists.txt that takes what the addon's takes.
 * @param options.tree CMake's folder, made where it is not there.
 */
export async function configure(
  program,
  { source = SOURCES, tree, flags = [], relocatable = false, tools, found },
) {
  mkdirSync(tree, { recursive: true });
  const abi = found.oldStrings ? ['-D_GLIBCXX_USE_CXX11_ABI=0'] : [];
  await run(
    program,
    'configuring (cmake)',
    [
      tools.cmake,
      ...['-S', source, '-B', tree],
      `-DCMAKE_CXX_COMPILER=${tools.compiler}`,
      `-DCMAKE_CXX_FLAGS=${[...abi, ...flags].join(' ')}`,
      `-DLIBTORCH_INCLUDE=${found.include.join(';')}`,
      `-DLIBTORCH_LIBRARIES=${found.libraries.join(';')}`,
      `-DNODE_INCLUDE=${HEADERS.map((path) => join(ROOT, path)).join(';')}`,
      ...cudaOptions(found.cuda),
      `-DCMAKE_SKIP_RPATH=${relocatable ? 'ON' : 'OFF'}`,
    ],
    { cwd: ROOT },
  );
}

async function compile(program, { folder, flags, relocatable, tools, found, environment }) {
  const sources = sourceHash();
  const tree = join(folder, 'cmake');
  // The compiler's own dependencies do not tell a replaced libtorch, whose files may be older than the objects.
  const library = relocatable ? basename(found.library) : found.library;
  const mark = fingerprint(found.library).replace(found.library, library);
  if (readBuildInfo(folder)?.fingerprint !== mark) rmSync(tree, { recursive: true, force: true });
  await configure(program, { tree, flags, relocatable, tools, found });
  const jobs = String(availableParallelism());
  await run(program, 'compiling (C++)', [tools.cmake, '--build', tree, '--parallel', jobs]);
  if (sourceHash() !== sources) {
    // An object may be newer than the source that it was not made from, which the next build would believe.
    rmSync(tree, { recursive: true, force: true });
    throw new SetupError('the sources changed while they were compiled; build again');
  }
  const info = {
    libtorch: { version: found.version, from: found.source, library },
    relocatable,
    fingerprint: mark,
    asked: askedLibtorch(environment),
    compiler: compilerVersion(tools.compiler),
    cuda: found.cuda?.version ?? null,
    cudaProblem: found.cuda?.problem ?? null,
    instructionSets: INSTRUCTION_SETS,
    sources,
  };
  // By a rename, so that a process that runs keeps the file that it has mapped.
  copyFileSync(join(tree, 'gradamp.node'), `${addonFile(folder)}.new`);
  rmSync(join(folder, 'probe.json'), { force: true });
  renameSync(`${addonFile(folder)}.new`, addonFile(folder));
  writeFileSync(join(folder, 'build-info.json'), `${JSON.stringify(info, null, 2)}\n`);
}

/** Given either way, since CMake remembers what it was told the last time. */
function cudaOptions(cuda) {
  const { include, libraries } = cuda?.problem === undefined && cuda ? cuda : { include: [], libraries: [] };
  return [
    `-DGRADAMP_CUDA=${libraries.length > 0 ? 'ON' : 'OFF'}`,
    `-DCUDA_INCLUDE=${include.join(';')}`,
    `-DCUDA_LIBRARIES=${libraries.join(';')}`,
  ];
}

function compilerVersion(compiler) {
  const { stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
  return stdout ? stdout.split('\n')[0].trim() : compiler;
}
