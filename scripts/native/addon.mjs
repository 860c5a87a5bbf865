// The addon as it lies in its folder: whether it is there, was made from these sources, and loads. What load.ts, doctor
// and the scripts know about a build, they know from here.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PROBE = join(ROOT, 'scripts', 'native', 'probe.cjs');
export const SOURCES = join(ROOT, 'src', 'engines', 'torch', 'native');
const PROBE_TIMEOUT = 60_000;
const DRIVER_VERSION = '/proc/driver/nvidia/version';

/** Where builds go, and where the engine looks for one: `GRADAMP_NATIVE`, or build/native of the checkout. */
export function addonFolder(environment = process.env) {
  return environment.GRADAMP_NATIVE ? resolve(environment.GRADAMP_NATIVE) : join(ROOT, 'build', 'native');
}

export const addonFile = (folder) => join(folder, 'gradamp.node');

/** Of the addon's sources and build file, by name and content; prose is none. */
export function sourceHash(folder = SOURCES) {
  const hash = createHash('sha256');
  const walk = (path) => {
    const entries = readdirSync(path, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.endsWith('.md')) continue;
      const child = join(path, entry.name);
      hash.update(`${entry.name}\0`);
      if (entry.isDirectory()) walk(child);
      else hash.update(readFileSync(child)).update('\0');
    }
  };
  walk(folder);
  return hash.digest('hex');
}

/** Path, size and time of a file: changes whenever it is replaced. */
export function fingerprint(path) {
  const { size, mtimeMs } = statSync(path);
  return `${path} ${size} ${mtimeMs}`;
}

/** What the build wrote about itself; undefined where there is none, or it cannot be read. */
export function readBuildInfo(folder) {
  return readJson(join(folder, 'build-info.json'));
}

/**
 * Whether the addon in `folder` can be used here. Loads it in a process of its own, so that what crashes there crashes
 * nobody else; that it loaded is noted beside it and holds until the addon, its libtorch, the GPUs' driver or Node changes.
 *
 * @returns `build`, what the addon says of itself, and `info`, the content of build-info.json; or `problem`, one line.
 */
export function inspectAddon(folder, { sources = SOURCES } = {}) {
  const file = addonFile(folder);
  if (!existsSync(file)) return { problem: `${file}: not there` };
  const info = readBuildInfo(folder);
  if (!info?.libtorch?.library) return { problem: `${join(folder, 'build-info.json')}: missing or damaged` };
  if (existsSync(sources) && info.sources !== sourceHash(sources)) {
    return { problem: `${file}: built from other sources than those that are here` };
  }
  const { LD_LIBRARY_PATH = '', LD_PRELOAD = '' } = process.env;
  const { version } = info.libtorch;
  const library = info.relocatable
    ? findLoaded(info.libtorch.library, LD_LIBRARY_PATH)
    : info.libtorch.library;
  if (library === undefined) {
    return {
      problem: `${file}: built for the libtorch ${version} of LD_LIBRARY_PATH, where no ${info.libtorch.library} is`,
    };
  }
  if (!existsSync(library)) {
    return { problem: `${file}: built for the libtorch ${version} in ${dirname(library)}, which is gone` };
  }
  const programs = [fingerprint(file), fingerprint(library), process.version, driverVersion()];
  const key = [...programs, LD_LIBRARY_PATH, LD_PRELOAD].join('\n');
  const note = join(folder, 'probe.json');
  const noted = readJson(note);
  const build = noted?.key === key ? noted.build : undefined;
  if (build) return { build, info };
  const answer = probe(file);
  if (answer.problem) return { problem: `${file}: ${answer.problem}` };
  const { libtorch, compiledFor } = answer.build;
  if (libtorch !== compiledFor) {
    return { problem: `${file}: built for libtorch ${compiledFor}, but ${library} is ${libtorch}` };
  }
  writeNote(note, { key, build: answer.build });
  return { build: answer.build, info };
}

/**
 * The GPUs that an addon with CUDA sees, asked in a process of its own, so that this one does not start CUDA, and every
 * time anew: which of a machine's GPUs a process sees is not to be told from files.
 *
 * @param folder of an addon that can be used.
 * @returns `devices`, by index; or `problem`, one line.
 */
export function listDevices(folder) {
  const file = addonFile(folder);
  const { devices, problem } = probe(file, '--devices');
  return problem === undefined ? { devices } : { problem: `${file}: ${problem}` };
}

/** Of NVIDIA's driver, in its own words. */
function driverVersion() {
  return existsSync(DRIVER_VERSION) ? readFileSync(DRIVER_VERSION, 'utf8').trim() : 'no driver';
}

/** The file that the loader takes for a library without a path. */
function findLoaded(name, path) {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate));
}

/** Loads the addon in a child process. */
function probe(file, ...wanted) {
  const { status, signal, error, stdout, stderr } = spawnSync(process.execPath, [PROBE, file, ...wanted], {
    encoding: 'utf8',
    timeout: PROBE_TIMEOUT,
    killSignal: 'SIGKILL',
  });
  if (error) return { problem: `could not be tried: ${error.message}` };
  // The last line; libraries may have printed before it.
  const answer = status === 0 ? parse(stdout.trimEnd().split('\n').at(-1)) : undefined;
  if (answer) return answer;
  const [last] = stderr.trim().split('\n').slice(-1);
  const end = signal ? `loading it ended by ${signal}` : `loading it ended with exit code ${status}`;
  return { problem: last ? `${end}: ${last}` : end };
}

/** Whoever cannot write it probes again the next time. */
function writeNote(path, note) {
  try {
    writeFileSync(`${path}.${process.pid}`, JSON.stringify(note));
    renameSync(`${path}.${process.pid}`, path);
  } catch {
    // A folder that others own.
  }
}

function readJson(path) {
  return existsSync(path) ? parse(readFileSync(path, 'utf8')) : undefined;
}

function parse(text) {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}
