// What differs between two configs, and which keys a run may change while it lives.

import { isDeepStrictEqual } from 'node:util';
import type { Config } from './schema.ts';

export interface ConfigChange {
  /** Dotted. */
  readonly key: string;
  /** Undefined where the key was, or is, not there. */
  readonly from: unknown;
  readonly to: unknown;
}

/** Where and with what a run computes, and what is kept of it: none says what it computes. */
const CHANGEABLE = new Set<string>([
  ...['name', 'dataDir', 'init', 'dumpGradients', 'checkpoint', 'resume', 'restarts'],
  ...['engine', 'backend', 'devices', 'threads', 'cudaGraph', 'collective', 'deterministic'],
  ...['barrierTimeout', 'skipLimit'],
  // `seeds` holds what it stands for.
  'seed',
]);

/** Every key whose value differs, maps key by key and lists as a whole. */
export function configChanges(before: Config, after: Config): readonly ConfigChange[] {
  return differences(before, after, '');
}

/** Of those changes, which make another run; the schedule is for whoever knows how far the run has come. */
export const definingChanges = (changes: readonly ConfigChange[]): readonly ConfigChange[] =>
  changes.filter(({ key }) => !CHANGEABLE.has(key.split('.')[0]) && key !== 'schedule');

function differences(from: unknown, to: unknown, key: string): readonly ConfigChange[] {
  if (isDeepStrictEqual(from, to)) return [];
  if (!isMap(from) || !isMap(to)) return [{ key, from, to }];
  const keys = new Set([...Object.keys(from), ...Object.keys(to)]);
  return [...keys].flatMap((inner) => differences(from[inner], to[inner], key ? `${key}.${inner}` : inner));
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
