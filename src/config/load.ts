// From a YAML file and the command line's overrides to a checked config, and back to YAML. Every problem is one
// UsageError of one line.

import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Document, isSeq, visit } from 'yaml';
import type { z } from 'zod';
import { UsageError } from '../errors.ts';
import { oneLine, shorten, show } from './messages.ts';
import { applyOverride, type Override, parseOverride } from './override.ts';
import { documentOf, resolveConfig } from './resolve.ts';
import { type Config, documentSchema } from './schema.ts';
import { readYaml } from './yaml.ts';

export interface Overrides {
  /** `key=value` each, applied in order. */
  readonly set?: readonly string[];
  /** `cpu,cpu`: in place of the config's devices. */
  readonly devices?: string;
}

/** Reads and checks a config; a UsageError names the file (or the option), the key, what is wrong and what to do. */
export function loadConfig(file: string, overrides: Overrides = {}): Config {
  return checkConfig(readExtended(file), file, overrides);
}

/** Checks a document that was read from `source`. */
export function checkConfig(document: unknown, source: string, overrides: Overrides = {}): Config {
  const origins: { readonly option: string; readonly path: readonly string[] }[] = [];
  let edited = document;
  const apply = (option: string, override: Override) => {
    edited = applyOverride(edited, override);
    origins.push({ option, path: override.path });
  };
  for (const text of overrides.set ?? []) apply('--set', parseOverride(text));
  if (overrides.devices !== undefined) {
    const value = overrides.devices.split(',').map((device) => device.trim());
    apply('--devices', { path: ['devices'], value });
  }
  const result = documentSchema.safeParse(withoutNulls(edited));
  // A misspelt key is one with null too.
  const unknown = issuesOf(documentSchema.safeParse(edited)).filter(isUnknownKey);
  if (result.success && unknown.length === 0) return resolveConfig(result.data);

  const issues = [...unknown, ...issuesOf(result).filter((issue) => !isUnknownKey(issue))];
  const [first] = issues;
  const path = first.path.map(String);
  const origin = origins.findLast((origin) => overlaps(origin.path, keyOf(first)));
  const count = issues.reduce(
    (sum, issue) => sum + (issue.code === 'unrecognized_keys' ? issue.keys.length : 1),
    0,
  );
  const more = count > 1 ? ` (and ${count - 1} more)` : '';
  const parts = [origin?.option ?? source, ...(path.length > 0 ? [path.join('.')] : []), first.message];
  throw new UsageError(oneLine(parts.join(': ')) + more);
}

/** A key with null is one that is not there: so a base's, or a file's, can be switched off. */
function withoutNulls(value: unknown, above: readonly unknown[] = []): unknown {
  // A YAML anchor may refer to the map that it stands in.
  if (!isMap(value) || above.includes(value)) return value;
  const entries = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutNulls(inner, [...above, value])]));
}

/** The config of a text that `configDocument` made; errors name `source`. */
export const parseConfig = (text: string, source: string): Config =>
  checkConfig(parseConfigText(text, source), source);

/** YAML of a config as a user would write it, every default included; loading it gives the same config. */
export function configDocument(config: Config): string {
  const document = new Document(documentOf(config));
  visit(document, {
    Pair(_, pair) {
      // Lists on one line, but the phases below each other.
      if (!isSeq(pair.value)) return;
      const nested = pair.value.items.filter(isSeq);
      for (const list of nested.length > 0 ? nested : [pair.value]) list.flow = true;
    },
  });
  return document.toString({
    lineWidth: 0,
    flowCollectionPadding: false,
    doubleQuotedAsJSON: true,
    blockQuote: false,
  });
}

/**
 * A document on top of the one that its key `extends` names, a path relative to the file: maps are merged key by key,
 * anything else is replaced. The name of that one's run is not taken over.
 */
function readExtended(file: string, above: readonly string[] = []): Record<string, unknown> {
  const path = resolve(file);
  if (above.includes(path)) {
    throw new UsageError(oneLine(`${file}: extends: expected another file, got one that extends this one`));
  }
  const { extends: base, ...document } = readDocument(file) as Record<string, unknown>;
  if (base === undefined || base === null) return document;
  if (typeof base !== 'string') {
    throw new UsageError(oneLine(`${file}: extends: expected the path of a config, got ${show(base)}`));
  }
  // Each file is a run of its own: with the name of another it would go to that one's folder.
  const { name: _, ...inherited } = readExtended(join(dirname(file), base), [...above, path]);
  return merge(inherited, document) as Record<string, unknown>;
}

function merge(base: unknown, document: unknown): unknown {
  if (!isMap(base) || !isMap(document)) return document;
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(document)) merged.set(key, merge(merged.get(key), value));
  return Object.fromEntries(merged);
}

const isMap = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function readDocument(file: string): unknown {
  return parseConfigText(readText(file), file);
}

function parseConfigText(text: string, file: string): unknown {
  const read = readYaml(text);
  if ('problem' in read) {
    const { problem, place } = read;
    const where = place ? `${file}:${place.line}:${place.column}` : file;
    throw new UsageError(`${oneLine(where)}: ${shorten(oneLine(problem))}`);
  }
  const { value } = read;
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
  const found = value === null ? 'an empty file' : describe(value);
  throw new UsageError(
    oneLine(
      `${file}: expected a map of keys such as "model: resnet8", got ${found}; see configs/quickstart.yaml`,
    ),
  );
}

const describe = (value: unknown) => (Array.isArray(value) ? 'a list' : `a ${typeof value}`);

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: 'no such file; expected the path of a YAML config such as configs/quickstart.yaml',
      ENOTDIR: 'no such file; expected the path of a YAML config such as configs/quickstart.yaml',
      EISDIR: 'is a folder; expected the path of a YAML config such as configs/quickstart.yaml',
      EACCES: 'may not be read; check its permissions',
    };
    throw new UsageError(
      oneLine(`${shorten(file)}: ${reasons[code ?? ''] ?? `cannot be read (${shorten(message)})`}`),
    );
  }
}

/** In place of a union that failed inside one of its maps or lists, the problems in there. */
function flatten(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const inside = issue.errors.find((branch) =>
    branch.every((nested) => nested.path.length > 0 || nested.code === 'unrecognized_keys'),
  );
  if (!inside) return [issue];
  return inside.flatMap((nested) => flatten({ ...nested, path: [...issue.path, ...nested.path] }));
}

const issuesOf = ({ error }: z.ZodSafeParseResult<unknown>) => error?.issues.flatMap(flatten) ?? [];

/** They are told first: a misspelt key is why another is missing. */
const isUnknownKey = (issue: z.core.$ZodIssue) => issue.code === 'unrecognized_keys';

/** Where a problem lies: of an unknown key its own place. */
function keyOf(issue: z.core.$ZodIssue): readonly string[] {
  const path = issue.path.map(String);
  return issue.code === 'unrecognized_keys' ? [...path, issue.keys[0]] : path;
}

/** Whether one place lies in the other. */
function overlaps(a: readonly string[], b: readonly string[]): boolean {
  return a.slice(0, b.length).every((key, depth) => key === b[depth]);
}
