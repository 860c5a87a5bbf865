// For developers, and in CI: runs the CUDA kernels on the processor and compares what they compute with ATen, so that they
// can be worked on where there is no GPU. Builds tests/engines/torch/emulation into build/native.emulation.
//   node scripts/native/emulate.mjs
// A line for each check; exit code 1 where one fails.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { run, SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { fingerprint } from './addon.mjs';
import { configure, findBuildInputs, ROOT, requireInputs } from './build-addon.mjs';

const FOLDER = join(ROOT, 'build', 'native.emulation');
const TREE = join(FOLDER, 'cmake');
const SOURCE = join(ROOT, 'tests', 'engines', 'torch', 'emulation');
const NAME = 'emulation';

async function build() {
  const inputs = findBuildInputs();
  requireInputs(inputs);
  const { tools, found } = inputs;
  // As for the addon: objects may be newer than a libtorch that they were not made for.
  const note = join(FOLDER, 'libtorch.txt');
  const mark = fingerprint(found.library);
  if (!existsSync(note) || readFileSync(note, 'utf8') !== mark)
    rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(note, mark);
  await configure('emulate', { source: SOURCE, tree: TREE, tools, found: { ...found, cuda: undefined } });
  const parameters = ['--build', TREE, '--target', NAME, '--parallel', String(availableParallelism())];
  await run('emulate', 'compiling (C++)', [tools.cmake, ...parameters]);
}

try {
  await withLock('emulate', build);
  const { status, signal, error } = spawnSync(join(TREE, NAME), { stdio: 'inherit' });
  if (error) throw error;
  if (signal) throw new SetupError(`the checks ended by ${signal}`);
  process.exitCode = status;
} catch (error) {
  process.stderr.write(`emulate: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
