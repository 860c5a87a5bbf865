// Finds a Python that has torch, for the peers.

import { spawnSync } from 'node:child_process';
import { UsageError } from '../src/errors.ts';
import { fromPackage } from '../src/package-root.ts';
import type { Command } from './subject.ts';

/** The system's own, too: Debian's torch is not seen by another Python that comes first in the path. */
const CANDIDATES = ['python3', '/usr/bin/python3'];

export interface TorchPython {
  readonly program: string;
  readonly python: string;
  readonly torch: string;
}

/** The version as torch tells it, without the seconds that loading torch takes. */
const PROBE = `
import importlib.util, os, platform, runpy, sys
torch = importlib.util.find_spec("torch")
if torch is None or torch.origin is None:
    sys.exit("no module named torch")
version = runpy.run_path(os.path.join(os.path.dirname(torch.origin), "version.py"))["__version__"]
print(platform.python_version(), version)`;

/**
 * @param program asked for by name; without it the first that has torch.
 * @returns undefined where none has.
 * @throws UsageError where the one that was asked for has none.
 */
export function findTorchPython(program?: string): TorchPython | undefined {
  if (program === undefined) {
    for (const candidate of CANDIDATES) {
      const found = probe(candidate);
      if (typeof found !== 'string') return found;
    }
    return undefined;
  }
  const found = probe(program);
  if (typeof found === 'string') {
    throw new UsageError(`--python: expected a Python with torch, but ${program}: ${found}; ${REMEDY}`);
  }
  return found;
}

const REMEDY = "install torch for it with pip, or Debian's python3-torch for /usr/bin/python3";

export const NO_TORCH = `no Python with torch among ${CANDIDATES.join(', ')}; ${REMEDY}, or name one with --python`;

const probed = new Map<string, TorchPython | string>();

/** What is wrong with it, where it is not one; a torch that does not load is told by what uses it. Once a process. */
function probe(program: string): TorchPython | string {
  const found = probed.get(program) ?? load(program);
  probed.set(program, found);
  return found;
}

function load(program: string): TorchPython | string {
  const { status, stdout, stderr, error } = spawnSync(program, ['-c', PROBE], { encoding: 'utf8' });
  if (error) return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such program' : error.message;
  const versions = /^(\S+) (\S+)$/m.exec(stdout.trim().split('\n').at(-1) ?? '');
  if (status === 0 && versions) return { program, python: versions[1], torch: versions[2] };
  return stderr.trim().split('\n').at(-1) || `ended with exit code ${status}`;
}

/** A script of peers/. @param threads of each of its processes; OpenMP reads them before torch can be told. */
export function pythonCommand(
  { program }: TorchPython,
  script: string,
  setup: { readonly threads: number } & Readonly<Record<string, unknown>>,
): Command {
  return {
    program,
    // -B: no bytecode beside the scripts.
    arguments: ['-B', fromPackage('bench', 'peers', `${script}.py`), JSON.stringify(setup)],
    environment: { OMP_NUM_THREADS: String(setup.threads), MKL_NUM_THREADS: String(setup.threads) },
  };
}
