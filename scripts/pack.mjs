// Packs what bench/gpu.sh runs on a machine that has CUDA, Python with torch, g++ and cmake, but neither a network nor
// Node: this Node, the compiled program and the packages it needs, the addon's sources and headers, and the tests with
// what runs them.
//   node scripts/pack.mjs [--native <folder>] [--out <folder>] [--folder]
// --native: an addon built for that machine (`npm run build:cuda -- --relocatable`), which then need not compile.
// --folder: leaves a folder, without the archive.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { run, SetupError, speaker } from './command.mjs';
import { addonFile, readBuildInfo, sourceHash } from './native/addon.mjs';
import { onPath } from './native/libtorch.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const NAME = 'gradamp-gpu';
/** Bytes of the archive, at most. */
const LIMIT = 60e6;
const ENTRIES = [join('src', 'cli', 'main.js'), join('workers', 'replica.js')].map((path) =>
  join('dist', path),
);
/** Of the checkout, as they are. `src`, `workers` and `bench` are also what the tests read. */
const FOLDERS = ['dist', 'src', 'workers', 'bench', 'scripts', 'configs', 'tests'];
const FILES = ['package.json', 'package-lock.json', 'tsconfig.json', 'vitest.config.ts', 'README.md'];
/** Development dependencies that the machine needs: what the addon is compiled with, and what runs the tests. */
const TOOLS = ['node-api-headers', 'node-addon-api', 'vitest', 'fast-check'];
/** Of vite, which loads it for style sheets alone. */
const LEFT_OUT = ['lightningcss'];
/** Files of packages that nothing reads at run time: types, source maps and prose. Licences stay. */
const NOT_RUN = new Set(['.ts', '.mts', '.cts', '.map', '.md', '.markdown', '.flow']);
const USAGE = 'usage: node scripts/pack.mjs [--native <folder>] [--out <folder>] [--folder]';

const say = speaker('pack');
const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

class WrongInput extends Error {}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        native: { type: 'string' },
        out: { type: 'string', default: join('build', 'pack') },
        folder: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    throw new WrongInput(`${error.message.split('\n')[0]}; ${USAGE}`);
  }
}

/** What must be there before anything is written. */
function check({ native, folder }) {
  const missing = ENTRIES.find((path) => !existsSync(join(ROOT, path)));
  if (missing)
    throw new SetupError(
      `expected the compiled program, found no ${missing}; run \`node scripts/setup.mjs\` first`,
    );
  if (!folder && onPath('xz').length === 0)
    throw new SetupError('expected the program xz to compress with, found none; install it, or use --folder');
  if (native !== undefined) checkNative(native);
}

function checkNative(folder) {
  if (!existsSync(addonFile(folder)))
    throw new WrongInput(`--native: expected ${addonFile(folder)}, found none`);
  const info = readBuildInfo(folder);
  if (!info) throw new WrongInput(`--native: expected ${join(folder, 'build-info.json')}, found none`);
  if (info.sources !== sourceHash())
    throw new WrongInput(
      `--native: expected an addon of the sources that are here, got one of others in ${folder}`,
    );
}

/** Folders, from the root, of all packages that the named ones need here. */
function closure(names) {
  const record = join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(record))
    throw new SetupError(`expected npm's ${record}, found none; run \`node scripts/setup.mjs\``);
  const { packages } = JSON.parse(readFileSync(record, 'utf8'));
  // As Node looks for it: beside the package, then in the folders above.
  const locate = (from, name) => {
    const path = from === '' ? `node_modules/${name}` : `${from}/node_modules/${name}`;
    if (packages[path]) return path;
    if (from === '') return undefined;
    return locate(from.slice(0, Math.max(0, from.lastIndexOf('/node_modules/'))), name);
  };
  const found = new Set();
  const add = (path) => {
    if (path === undefined || found.has(path)) return;
    found.add(path);
    const { dependencies, optionalDependencies } = packages[path];
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (!LEFT_OUT.includes(name)) add(locate(path, name));
    }
  };
  for (const name of names) add(locate('', name));
  return [...found].sort();
}

/** Whether a file of a package is of use when the program runs. Of tfjs' many bundles Node takes one. */
function isRun(path) {
  if (statSync(path).isDirectory()) return basename(path) !== 'node_modules';
  const inTfjs = /@tensorflow\/tfjs-[\w-]+\/(.*)$/.exec(path);
  if (inTfjs) return /^package\.json$|^LICENSE|^dist\/[\w-]+\.node\.js$|\.wasm$/.test(inTfjs[1]);
  return !NOT_RUN.has(extname(path));
}

function copyPackages(target) {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  // A checkout may have them by a link.
  const modules = realpathSync(join(ROOT, 'node_modules'));
  for (const path of closure([...Object.keys(dependencies), ...TOOLS])) {
    const inside = path.slice('node_modules/'.length);
    const source = join(modules, inside);
    // The root of the copy itself lies in a node_modules.
    const filter = (file) => file === source || isRun(file);
    cpSync(source, join(target, 'node_modules', inside), { recursive: true, dereference: true, filter });
  }
}

/** This Node, without its symbols where it runs without them. */
function copyNode(target) {
  const node = join(target, 'bin', 'node');
  mkdirSync(dirname(node), { recursive: true });
  const [strip] = onPath('strip');
  const stripped = strip && spawnSync(strip, ['-o', node, process.execPath]).status === 0;
  const runs = () => spawnSync(node, ['-p', '6 * 7'], { encoding: 'utf8' }).stdout === '42\n';
  if (!stripped || !runs()) copyFileSync(process.execPath, node);
  chmodSync(node, 0o755);
  const program = join(target, 'bin', 'gradamp');
  writeFileSync(
    program,
    `#!/bin/sh
# gradamp, by the Node beside it.
here=$(dirname "$(readlink -f "$0")")
exec "$here/node" --enable-source-maps "$here/../dist/src/cli/main.js" "$@"
`,
  );
  chmodSync(program, 0o755);
}

/** What the machine has no git to ask. */
function describePack() {
  const { stdout, status } = spawnSync('git', ['describe', '--always', '--dirty'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return {
    commit: status === 0 ? stdout.trim() : null,
    packed: new Date().toISOString(),
    node: process.version,
  };
}

function sizeOf(path) {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

async function compress(out, target) {
  const archive = join(out, `${NAME}.tar.xz`);
  // Two blocks at a time, which costs a little of the ratio.
  const xz = 'xz -9 --threads=0 --block-size=67108864';
  const tar = [
    'tar',
    '--sort=name',
    '--owner=0',
    '--group=0',
    '-C',
    out,
    '-cf',
    archive,
    '-I',
    xz,
    basename(target),
  ];
  await run('pack', 'compressing (xz)', tar);
  return archive;
}

async function pack() {
  const options = readOptions();
  if (options.help) return process.stdout.write(`${USAGE}\n`);
  check(options);
  const out = resolve(options.out);
  const target = join(out, NAME);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const name of FOLDERS) {
    const filter = (path) => !/__pycache__|\.(js\.map|log)$/.test(path);
    cpSync(join(ROOT, name), join(target, name), { recursive: true, filter });
  }
  for (const name of FILES) copyFileSync(join(ROOT, name), join(target, name));
  copyPackages(target);
  copyNode(target);
  writeFileSync(join(target, 'pack.json'), `${JSON.stringify(describePack(), null, 2)}\n`);
  if (options.native !== undefined) {
    const folder = join(target, 'build', 'native');
    mkdirSync(folder, { recursive: true });
    for (const name of ['gradamp.node', 'build-info.json'])
      copyFileSync(join(options.native, name), join(folder, name));
  }
  const parts = readdirSync(target)
    .map((name) => [name, sizeOf(join(target, name))])
    .sort(([, a], [, b]) => b - a);
  for (const [name, bytes] of parts) say(`${inMegabytes(bytes).padStart(9)}  ${name}`);
  say(`${inMegabytes(parts.reduce((sum, [, bytes]) => sum + bytes, 0)).padStart(9)}  in ${target}`);
  if (options.folder) return;
  const archive = await compress(out, target);
  const { size } = statSync(archive);
  say(`${inMegabytes(size).padStart(9)}  ${archive}`);
  if (size > LIMIT)
    throw new SetupError(`expected an archive of at most ${inMegabytes(LIMIT)}, got ${inMegabytes(size)}`);
}

try {
  await pack();
} catch (error) {
  const told = error instanceof SetupError || error instanceof WrongInput;
  process.stderr.write(`pack: ${told ? error.message : error.stack}\n`);
  process.exitCode = error instanceof WrongInput ? 2 : 1;
}
