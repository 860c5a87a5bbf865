// `npm run build:cuda`: builds the addon with CUDA into build/native-cuda, for developers: it compiles and links where
// there is no GPU. Takes pip's CUDA torch, from a Python environment of its own (.venv-cuda; several gigabytes).
// `--relocatable` builds one to be carried to another machine: it finds its libraries by LD_LIBRARY_PATH.

import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { run, SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { buildAddon, findTools, ROOT } from './build-addon.mjs';
import { inspectPython, onPath } from './libtorch.mjs';

const VENV = join(ROOT, '.venv-cuda');
const PYTHON = join(VENV, 'bin', 'python');
/** The wheel of the package index, for x86-64, is the one with CUDA. */
const TORCH = 'torch==2.11.0';

async function installTorch() {
  if (existsSync(PYTHON)) return;
  const [python] = onPath('python3');
  if (!python) throw new SetupError('no python3 to get torch with');
  await run('native', 'making the Python environment .venv-cuda', [python, '-m', 'venv', VENV]);
  await run('native', `installing ${TORCH} with CUDA (pip)`, [PYTHON, '-m', 'pip', 'install', TORCH]);
}

async function build() {
  await installTorch();
  const torch = inspectPython(PYTHON);
  if (torch.problem) throw new SetupError(`the torch of .venv-cuda will not do: ${torch.problem}`);
  if (!torch.cuda) throw new SetupError('the torch of .venv-cuda is without CUDA');
  if (torch.cuda.problem)
    throw new SetupError(`what a build with CUDA takes is not here: ${torch.cuda.problem}`);
  const tools = findTools();
  const found = { source: 'python', where: `torch of ${PYTHON}`, ...torch };
  const relocatable = process.argv.includes('--relocatable');
  if (relocatable) process.env.LD_LIBRARY_PATH = libraryPath(found);
  const folder = join(ROOT, 'build', relocatable ? 'native-packed' : 'native-cuda');
  await buildAddon('native', { folder, relocatable, inputs: { missing: tools.missing, tools, found } });
}

/** For the loader, which is to find here what it will find there. */
function libraryPath({ library, cuda }) {
  const { LD_LIBRARY_PATH } = process.env;
  const folders = new Set([dirname(library), ...cuda.libraries.map((path) => dirname(path))]);
  return [...folders, ...(LD_LIBRARY_PATH ? [LD_LIBRARY_PATH] : [])].join(delimiter);
}

try {
  await withLock('native', build);
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
