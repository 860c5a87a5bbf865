// Builds the addon of the engine torch: finds what that takes, says what it took, and writes build-info.json.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, SetupError, speaker } from '../command.mjs';
import { addonFile, fingerprint, inspectAddon, readBuildInfo, SOURCES, sourceHash } from './addon.mjs';
import { findLibtorch, onPath } from './libtorch.mjs';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const REMEDY = '`npm run setup:native` gets what is missing';
/** Of the kernels, see native/CMakeLists.txt. */
const INSTRUCTION_SETS = process.arch === 'x64' ? ['baseline', 'avx2', 'avx512'] : ['baseline'];

/**
 * What a build takes, without libtorch.
 *
 * @returns `missing`, what is not there, by name; else `cmake` and `compiler`, programs, and `include`, folders.
 */
export function findTools({ root = ROOT, environment = process.env } = {}) {
  const [cmake] = onPath('cmake', environment);
  const compiler =
    environment.CXX || ['c++', 'g++', 'clang++'].flatMap((name) => onPath(name, environment))[0];
  const include = [join('node-api-headers', 'include'), 'node-addon-api'].map((path) =>
    join(root, 'node_modules', path),
  );
  const missing = [
    ...include.filter((folder) => !existsSync(folder)),
    ...(cmake ? [] : ['cmake']),
    ...(compiler ? [] : ['a C++ compiler']),
  ];
  return missing.length > 0 ? { missing } : { missing, cmake, compiler, include };
}

/**
 * @param options.folder where gradamp.node and build-info.json go; the compiler's files go to its `cmake`.
 * @param options.flags further flags of the compiler and linker, for the sanitizers.
 * @throws SetupError that tells what is missing, or what failed.
 */
export async function buildAddon(program, { folder, flags = [], environment = process.env }) {
  const say = speaker(program);
  if (process.platform !== 'linux')
    throw new SetupError(`expected Linux, got ${process.platform}; use engine: tfjs`);
  const tools = findTools({ environment });
  if (tools.missing.length > 0) throw new SetupError(`no ${tools.missing.join(', no ')}; ${REMEDY}`);
  const { found, tried } = findLibtorch({ root: ROOT, environment });
  if (!found)
    throw new SetupError(`no libtorch; ${REMEDY}; tried\n${tried.map((line) => `  ${line}`).join('\n')}`);
  say(`libtorch ${found.version}${found.cuda ? ' with CUDA' : ''}, ${found.where}`);
  await compile(program, { folder, flags, tools, found });
  const inspection = inspectAddon(folder);
  if (inspection.problem) throw new SetupError(`built, but it does not load: ${inspection.problem}`);
  say(`${addonFile(folder)} is built and loads (${inspection.build.instructionSet})`);
}

async function compile(program, { folder, flags, tools, found }) {
  const sources = sourceHash();
  const tree = join(folder, 'cmake');
  // The compiler's own dependencies do not tell a replaced libtorch, whose files may be older than the objects.
  if (readBuildInfo(folder)?.fingerprint !== fingerprint(found.library))
    rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree, { recursive: true });
  const abi = found.oldStrings ? ['-D_GLIBCXX_USE_CXX11_ABI=0'] : [];
  await run(program, 'configuring (cmake)', [
    tools.cmake,
    ...['-S', SOURCES, '-B', tree],
    `-DCMAKE_CXX_COMPILER=${tools.compiler}`,
    `-DCMAKE_CXX_FLAGS=${[...abi, ...flags].join(' ')}`,
    `-DLIBTORCH_INCLUDE=${found.include.join(';')}`,
    `-DLIBTORCH_LIBRARIES=${found.libraries.join(';')}`,
    `-DNODE_INCLUDE=${tools.include.join(';')}`,
  ]);
  const jobs = String(availableParallelism());
  await run(program, 'compiling (C++)', [tools.cmake, '--build', tree, '--parallel', jobs]);
  const info = {
    libtorch: { version: found.version, from: found.source, library: found.library },
    fingerprint: fingerprint(found.library),
    compiler: compilerVersion(tools.compiler),
    cuda: found.cuda,
    instructionSets: INSTRUCTION_SETS,
    sources,
  };
  // By a rename, so that a process that runs keeps the file that it has mapped.
  copyFileSync(join(tree, 'gradamp.node'), `${addonFile(folder)}.new`);
  rmSync(join(folder, 'probe.json'), { force: true });
  renameSync(`${addonFile(folder)}.new`, addonFile(folder));
  writeFileSync(join(folder, 'build-info.json'), `${JSON.stringify(info, null, 2)}\n`);
}

function compilerVersion(compiler) {
  const { stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
  return stdout ? stdout.split('\n')[0].trim() : compiler;
}
