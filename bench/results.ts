// What makes a figure a result: the device, the versions and the day beside it; and the files of bench/results.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeMachine } from '../src/cli/machine.ts';
import { UsageError } from '../src/errors.ts';
import { fromPackage } from '../src/package-root.ts';

export interface Provenance {
  /** The benchmark. */
  readonly what: string;
  /** `2026-01-31`, UTC. */
  readonly date: string;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly gpus: readonly string[];
    readonly system: string;
  };
  /** Of libraries, see the result. */
  readonly versions: {
    readonly gradamp: string;
    /** As `git describe --always --dirty`, of a packed folder where it was packed; null outside a checkout. */
    readonly commit: string | null;
    readonly node: string;
  };
}

export function provenance(what: string): Provenance {
  const { processor, cores, memory, gpus, system, node } = describeMachine();
  const { version } = JSON.parse(readFileSync(fromPackage('package.json'), 'utf8'));
  return {
    what,
    date: new Date().toISOString().slice(0, 10),
    machine: { processor, cores, memoryBytes: memory.total, gpus, system },
    versions: { gradamp: version, commit: commit(), node },
  };
}

function commit(): string | null {
  // Written by scripts/pack.mjs.
  const packed = fromPackage('pack.json');
  if (existsSync(packed)) return JSON.parse(readFileSync(packed, 'utf8')).commit;
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: fromPackage(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null;
  }
}

/**
 * Writes `<device>-<date>-<what>.json`; the same measured again on the same day takes its place.
 * @returns the file's path.
 * @throws UsageError where the folder cannot be written.
 */
export function saveResult(folder: string, result: Provenance): string {
  const file = join(folder, `${deviceSlug(result.machine)}-${result.date}-${slug(result.what)}.json`);
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  } catch (error) {
    throw new UsageError(
      `--save: expected a folder that can be written, got ${folder}: ${(error as Error).message}`,
    );
  }
  return file;
}

/** `amd-epyc-2-cores` */
export const deviceSlug = ({ gpus, processor, cores }: Provenance['machine']): string =>
  slug(gpus[0] ?? `${processor} ${cores} cores`);

const slug = (text: string) =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9.]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
