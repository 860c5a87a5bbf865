// Sets up a checkout: installs the packages of package-lock.json and compiles the sources, each only where needed; and
// builds the native addon where a libtorch, cmake and a compiler are there. Needs nothing but Node and npm. `--quiet`
// prints nothing when there is nothing to do.

import { createHash } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, SetupError, speaker } from './command.mjs';
import { withLock } from './lock.mjs';
import { nativeStep } from './native/step.mjs';

const ROOT = realpathSync(dirname(dirname(fileURLToPath(import.meta.url))));
const PLATFORM = `${process.platform}-${process.arch}`;
const INSTALL_STAMP = join(ROOT, 'node_modules', '.gradamp-setup');
const DIST = join(ROOT, 'dist');
const BUILD_STAMP = join(DIST, '.gradamp-build');
/** Where programs begin; of a build without one something was removed. */
const ENTRIES = [join('src', 'cli', 'main.js'), join('workers', 'replica.js')];
const SOURCES = ['src', 'workers', 'bench', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];

const say = speaker('setup');
const digest = (...parts) => createHash('sha256').update(parts.join('\0')).digest('hex');
const read = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);
const readJson = (path) => JSON.parse(read(path) || 'null');

/** `engines` in package.json tells the oldest, as `>=20.11`. */
function checkNode() {
  const oldest = readJson(join(ROOT, 'package.json')).engines.node.replace('>=', '');
  const [oldestMajor, oldestMinor] = oldest.split('.').map(Number);
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new SetupError(
    `expected Node ${oldest} or newer, got ${process.versions.node}; see https://nodejs.org`,
  );
}

/** What the installed packages must correspond to: the lockfile, what package.json asks for, and this platform. */
function wantedInstall() {
  const { dependencies, devDependencies, overrides } = readJson(join(ROOT, 'package.json'));
  const asked = JSON.stringify([dependencies, devDependencies, overrides]);
  return `${PLATFORM} ${digest(read(join(ROOT, 'package-lock.json')), asked)}`;
}

/** What the lockfile says of every package, by the folder that it belongs in. */
function lockedPackages() {
  const path = join(ROOT, 'package-lock.json');
  const text = read(path);
  const remedy = 'get it back with `git checkout package-lock.json`, or make a new one with `npm install`';
  if (text === undefined) throw new SetupError(`${path}: expected npm's lockfile, found nothing; ${remedy}`);
  try {
    const { packages } = JSON.parse(text);
    if (packages['']) return packages;
  } catch {
    // Said below.
  }
  throw new SetupError(`${path}: expected npm's lockfile, got something else; ${remedy}`);
}

/** The first package of the lockfile, of those that every platform has, whose folder is not there. */
function findMissingPackage() {
  const required = Object.entries(lockedPackages()).filter(([path, { optional }]) => path && !optional);
  const [path] = required.find(([path]) => !existsSync(join(ROOT, path))) || [];
  return path;
}

function isInstalled(wanted) {
  const stamp = read(INSTALL_STAMP);
  if (stamp === wanted) return findMissingPackage() === undefined;
  checkLockfile();
  // Somebody ran npm by hand: that is as good, where it gave what the lockfile says on this platform.
  if (stamp !== undefined && !stamp.startsWith(`${PLATFORM} `)) return false;
  const installed = readJson(join(ROOT, 'node_modules', '.package-lock.json'));
  if (!installed || !coversLockfile(installed.packages)) return false;
  writeFileSync(INSTALL_STAMP, wanted);
  return true;
}

function checkLockfile() {
  const manifest = readJson(join(ROOT, 'package.json'));
  const locked = lockedPackages()[''];
  const sorted = (versions) => JSON.stringify(Object.entries(versions || {}).sort());
  for (const key of ['dependencies', 'devDependencies']) {
    if (sorted(locked[key]) === sorted(manifest[key])) continue;
    throw new SetupError(`package.json and package-lock.json differ in ${key}; run \`npm install\``);
  }
}

/** Whether npm's record of what it installed has all that the lockfile says; more (`--no-save`) is no harm. */
function coversLockfile(installed) {
  return Object.entries(lockedPackages()).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const found = installed[path];
    return found ? found.version === version && existsSync(join(ROOT, path)) : optional === true;
  });
}

/**
 * Not `npm ci`: from npm 11 on it refuses a lockfile without the entries of every platform, and a registry that
 * mirrors one platform cannot give them. `npm install --no-save` takes the lockfile's versions and writes neither
 * file, and `checkLockfile` does what npm ci would check in addition.
 */
async function install(wanted) {
  const npm = process.env.npm_execpath || '';
  const command = basename(npm) === 'npm-cli.js' ? [process.execPath, npm] : ['npm'];
  // Also where NODE_ENV=production: the compiler is a development dependency.
  const parameters = ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund'];
  await run('setup', 'installing the packages of package-lock.json', [...command, ...parameters], {
    cwd: ROOT,
  });
  const missing = findMissingPackage();
  if (missing) throw new SetupError(`npm ended without an error, but ${missing} is not there`);
  writeFileSync(INSTALL_STAMP, wanted);
}

/** What dist must have been compiled from: every source file by name and content, and the compiler. */
function wantedBuild() {
  const hash = createHash('sha256');
  const add = (path) =>
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(ROOT, path)))
      .update('\0');
  const walk = (path) => {
    const entries = readdirSync(join(ROOT, path), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const child = `${path}/${entry.name}`;
      if (entry.isDirectory()) walk(child);
      else if (/\.ts$/.test(entry.name)) add(child);
    }
  };
  for (const path of SOURCES) {
    if (!existsSync(join(ROOT, path))) continue;
    if (/\./.test(path)) add(path);
    else walk(path);
  }
  const compiler = readJson(join(ROOT, 'node_modules', 'typescript', 'package.json'));
  return digest(hash.digest('hex'), compiler ? compiler.version : '');
}

function isBuilt(wanted) {
  return read(BUILD_STAMP) === wanted && ENTRIES.every((entry) => existsSync(join(DIST, entry)));
}

/**
 * Compiles into a folder beside dist that then takes its place: a training that runs from dist finds its modules
 * until then, and no module whose source is gone is found afterwards.
 */
async function build(wanted) {
  // Of set-ups that were killed.
  for (const name of readdirSync(ROOT).filter((name) => /^dist\.(new|old)-\d+$/.test(name))) remove(name);
  const fresh = `dist.new-${process.pid}`;
  const aside = `dist.old-${process.pid}`;
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const command = [process.execPath, compiler, '-p', 'tsconfig.build.json', '--outDir', fresh];
  try {
    await run('setup', 'compiling (tsc)', command, { cwd: ROOT });
    const missing = ENTRIES.find((entry) => !existsSync(join(ROOT, fresh, entry)));
    if (missing) throw new SetupError(`tsc ended without an error, but made no ${missing}`);
    writeFileSync(join(ROOT, fresh, basename(BUILD_STAMP)), wanted);
    if (existsSync(DIST)) renameSync(DIST, join(ROOT, aside));
    renameSync(join(ROOT, fresh), DIST);
  } finally {
    remove(fresh);
    remove(aside);
  }
}

function remove(name) {
  rmSync(join(ROOT, name), { recursive: true, force: true, maxRetries: 3 });
}

async function setUp() {
  let native;
  const steps = () => {
    const installation = wantedInstall();
    if (!isInstalled(installation)) return () => install(installation);
    const sources = wantedBuild();
    if (!isBuilt(sources)) return () => build(sources);
    native = nativeStep('setup');
    return native.build;
  };
  if (steps()) {
    await withLock('setup', async () => {
      // Looked at again: another set-up may have done it while this one waited.
      for (let step = steps(); step; step = steps()) await step();
    });
  } else if (process.argv.includes('--quiet')) {
    return;
  }
  if (native.problem) say(`no engine torch: ${native.problem}`);
  say(`ready (Node ${process.versions.node}; packages and build are up to date)`);
}

Promise.resolve()
  .then(() => checkNode())
  .then(() => setUp())
  .catch((error) => {
    process.stderr.write(`setup: ${error instanceof SetupError ? error.message : error.stack}\n`);
    process.exitCode = 1;
  });
