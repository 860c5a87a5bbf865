// `npm run setup:native`: gets what the engine torch is built with and for, where it is missing, and builds it. It says
// what it is about to do before it does it; `--dry-run` only says it.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { run, SetupError, speaker } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { addonFile, addonFolder } from './addon.mjs';
import { askedLibtorch, buildAddon, describeMissing, findBuildInputs, ROOT } from './build-addon.mjs';
import { onPath } from './libtorch.mjs';
import { nativeStep } from './step.mjs';

const VENV = join(ROOT, '.venv');
const PYTHON = join(VENV, 'bin', 'python');
/** Debian's names. */
const PACKAGES = { cmake: 'cmake', 'C++ compiler': 'g++', libtorch: 'libtorch-dev' };
/** Wheels without CUDA; the package index has, for x86-64, only those with it: gigabytes. */
const CPU_WHEELS = 'https://download.pytorch.org/whl/cpu';

const say = speaker('native');

/**
 * The commands that get what is missing, each with a title.
 * @throws SetupError where this machine offers no way to it.
 */
function planInstallation({ missing, tried }) {
  const headers = missing.filter((name) => name.startsWith('node_modules'));
  if (headers.length > 0)
    throw new SetupError(`no ${headers.join(', no ')}; run \`node scripts/setup.mjs\` first`);
  const { LIBTORCH, LIBTORCH_USE_PYTORCH } = process.env;
  if (LIBTORCH && missing.includes('libtorch'))
    throw new SetupError([describeMissing(missing), ...tried].join('\n  '));
  const [apt] = process.getuid?.() === 0 ? onPath('apt-get') : [];
  const packages = missing.filter((name) => apt && !(name === 'libtorch' && LIBTORCH_USE_PYTORCH === '1'));
  const rest = missing.filter((name) => !packages.includes(name));
  return [...(packages.length > 0 ? debianCommands(apt, packages) : []), ...pipCommands(rest)];
}

function debianCommands(apt, missing) {
  const names = missing.map((name) => PACKAGES[name]);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return [
    { title: 'renewing the package lists (apt-get update)', command: [apt, 'update'], env },
    {
      title: `installing ${names.join(', ')} (apt-get)`,
      command: [apt, 'install', '--yes', '--no-install-recommends', ...names],
      env,
    },
  ];
}

/** Into an environment that belongs to this checkout. */
function pipCommands(missing) {
  if (missing.length === 0) return [];
  if (missing.includes('C++ compiler')) {
    throw new SetupError(
      'no C++ compiler, and only root may install one: `apt-get install g++` (Debian, Ubuntu), or ask who looks after this machine',
    );
  }
  const [python] = onPath('python3');
  if (!python) {
    throw new SetupError(
      'no python3 to get torch with; install it, or unpack a libtorch from https://pytorch.org and set LIBTORCH to its folder',
    );
  }
  const names = missing.map((name) => (name === 'libtorch' ? 'torch' : name));
  const wheels = existsSync('/proc/driver/nvidia') ? [] : ['--extra-index-url', CPU_WHEELS];
  return [
    ...(existsSync(PYTHON)
      ? []
      : [{ title: 'making the Python environment .venv', command: [python, '-m', 'venv', VENV] }]),
    {
      title: `installing ${names.join(', ')} into .venv (pip)`,
      command: [PYTHON, '-m', 'pip', 'install', ...names, ...wheels],
    },
  ];
}

async function install(steps) {
  for (const { title, command } of steps) say(`will run: ${command.join(' ')} (${title})`);
  if (process.argv.includes('--dry-run')) return;
  for (const { title, command, env } of steps) await run('native', title, command, { cwd: ROOT, env });
}

async function setUp() {
  const { build, problem } = nativeStep('native');
  if (!build && !problem) return say(`${addonFile(addonFolder())} is up to date`);
  await install(planInstallation(findBuildInputs()));
  if (process.argv.includes('--dry-run')) return;
  let inputs = findBuildInputs();
  if (inputs.missing.length > 0 && !askedLibtorch(process.env)) {
    // Some distributions' libtorch is too old.
    await install(pipCommands(inputs.missing));
    inputs = findBuildInputs();
  }
  await buildAddon('native', { folder: addonFolder(), inputs });
}

try {
  await withLock('native', setUp);
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
