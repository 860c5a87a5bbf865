// `--set key=value`: a dotted key into a config document and a YAML value. Documents are never changed in place.

import { UsageError } from '../errors.ts';
import { oneLine, shorten, show } from './messages.ts';
import { MOST_LEVELS, readYaml } from './yaml.ts';

export interface Override {
  /** `schedule.0.1` is the learning rate of the first phase. */
  readonly path: readonly string[];
  readonly value: unknown;
}

/** Reads `key=value`; a UsageError where it is not one. */
export function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  const path = text.slice(0, equals).trim().split('.');
  if (equals < 0 || path.includes('')) {
    throw new UsageError(`--set: expected key=value, got ${show(text)}; for example --set batchSize=64`);
  }
  if (path.length > MOST_LEVELS) throw problemOf(path, `expected at most ${MOST_LEVELS} keys in each other`);
  if (path[0] === 'extends') throw problemOf(path, 'expected in a config file alone; write it there');
  return { path, value: parseValue(path, text.slice(equals + 1)) };
}

function parseValue(path: readonly string[], text: string): unknown {
  const read = readYaml(text);
  if ('value' in read) return read.value;
  throw problemOf(path, `expected a YAML value, got ${show(text)}`);
}

/** The document with one value set; missing maps on the way are made, items are only replaced or appended. */
export function applyOverride(document: unknown, override: Override): unknown {
  return assign(document, override.path, 0, override.value);
}

function assign(current: unknown, path: readonly string[], depth: number, value: unknown): unknown {
  if (depth === path.length) return value;
  const key = path[depth];
  const container = containerFor(current, path, depth);
  if (Array.isArray(container)) {
    const index = /^\d+$/.test(key) ? Number(key) : Number.NaN;
    if (!(index <= container.length)) {
      const place = shorten(path.slice(0, depth).join('.'));
      throw problemOf(path, `expected ${place}.<number from 0 to ${container.length}>, got ${show(key)}`);
    }
    const items = [...container];
    items[index] = assign(container[index], path, depth + 1, value);
    return items;
  }
  const entries = new Map(Object.entries(container));
  entries.set(key, assign(entries.get(key), path, depth + 1, value));
  // Object.fromEntries makes even __proto__ a plain key, which the schema then refuses.
  return Object.fromEntries(entries);
}

/** The map or list that holds `path[depth]`: an empty one where there is none yet. */
function containerFor(current: unknown, path: readonly string[], depth: number): object {
  if (typeof current === 'object' && current !== null) return current;
  if (current === undefined || current === null) return /^\d+$/.test(path[depth]) ? [] : {};
  if (depth === 1 && path[0] === 'model' && typeof current === 'string') return { name: current };
  const place = shorten(path.slice(0, depth).join('.'));
  const remedy = `set ${place} as a whole first`;
  throw problemOf(path, `expected ${place} to be a map, but it is ${show(current)}; ${remedy}`);
}

function problemOf(path: readonly string[], message: string): UsageError {
  return new UsageError(oneLine(`--set: ${shorten(path.join('.'))}: ${message}`));
}
