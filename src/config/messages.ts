// What a config error says: what was expected, what came, the nearest known name. One line, whatever the input.

import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';

/** What zod hands to a schema's error function. */
type RawIssue = z.core.$ZodRawIssue;

const LONGEST_VALUE = 60;

/** A value as an error shows it: YAML-like, on one line, cut after 60 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'an empty value';
  if (typeof value !== 'string' && typeof value !== 'object') return String(value);
  const text = textOf(value);
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

function textOf(value: string | object): string {
  try {
    return JSON.stringify(value);
  } catch {
    // A YAML anchor may refer to the map or list that it stands in.
    return Array.isArray(value) ? 'a list that contains itself' : 'a map that contains itself';
  }
}

/** Control characters and line ends written out, so that a message stays one line. */
export function oneLine(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is written out
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const LONGEST_QUOTE = 200;

/** What may hold anything that a user gave, such as another library's message: cut after 200 characters. */
export const shorten = (text: string): string =>
  text.length > LONGEST_QUOTE ? `${text.slice(0, LONGEST_QUOTE)}…` : text;

/** The candidate that differs least from `word`, where the difference is small enough to be a slip. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const wanted = word.toLowerCase();
  const slips = Math.max(2, Math.floor(word.length * 0.4));
  const ranked = candidates
    .map((candidate) => ({ candidate, edits: distance(wanted, candidate.toLowerCase()) }))
    .filter(({ candidate, edits }) => edits <= slips && edits < candidate.length)
    .sort((a, b) => a.edits - b.edits);
  return ranked[0]?.candidate;
}

/**
 * The error of a schema: "expected `phrase`, got ...", with a suggestion where the value is nearly one of `names`,
 * or else the remedy.
 */
export function expected(phrase: string, options: { names?: readonly string[]; remedy?: string } = {}) {
  const { names = [], remedy } = options;
  return ({ input }: { readonly input?: unknown }): string => {
    const near = typeof input === 'string' ? nearest(input, names) : undefined;
    const hint = near !== undefined ? `did you mean ${near}?` : (remedy ?? quoteHint(phrase, input));
    return `expected ${phrase}, got ${show(input)}${hint === undefined ? '' : `; ${hint}`}`;
  };
}

/** YAML 1.2 reads on, off, yes and no as strings, and everything between quotes. */
function quoteHint(phrase: string, input: unknown): string | undefined {
  if (typeof input !== 'string') return undefined;
  if (phrase === 'true or false') {
    if (/^(on|yes|true)$/i.test(input)) return 'write true';
    if (/^(off|no|false)$/i.test(input)) return 'write false';
  }
  const isNumber = input.trim() !== '' && Number.isFinite(Number(input));
  return isNumber && phrase.includes('number') ? 'write it without quotes' : undefined;
}

/** The error of a closed map: for a key that it does not have, the nearest one that it has. */
export function expectedKeys(phrase: string, keys: readonly string[]) {
  const other = expected(phrase);
  return (issue: RawIssue): string => {
    if (issue.code !== 'unrecognized_keys') return other(issue);
    return unknownKey(issue.keys[0], keys);
  };
}

/** `keys`: those that there are. */
export function unknownKey(key: string, keys: readonly string[]): string {
  const near = nearest(key, keys);
  return `unknown key ${/^[\w.-]{1,60}$/.test(key) ? key : show(key)}; ${near === undefined ? `the keys are ${keys.join(', ')}` : `did you mean ${near}?`}`;
}
