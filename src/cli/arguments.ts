// Reads the values of options; commander turns what is thrown here into a message that names the option.

import { InvalidArgumentError, Option } from 'commander';
import { nearest } from '../config/messages.ts';

/** A parser of whole numbers from `low` to `high`. */
export function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER) {
  const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
  return (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`Expected a whole number ${range}.`);
  };
}

/** A parser of numbers above 0. */
export function positiveNumber(high: number) {
  return (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value > 0 && value <= high) return value;
    throw new InvalidArgumentError(`Expected a number above 0, at most ${high}.`);
  };
}

/** A parser of one of some names; for `argParser` behind `choices`, which puts the names into the help. */
export function oneOf<Name extends string>(names: readonly Name[]) {
  return (text: string): Name => {
    const found = names.find((name) => name === text);
    if (found !== undefined) return found;
    const near = nearest(text, names);
    const hint = near === undefined ? '' : ` Did you mean ${near}?`;
    throw new InvalidArgumentError(`Allowed choices are ${names.join(', ')}.${hint}`);
  };
}

/** An option that takes one of some names. */
export function choice(flags: string, description: string, names: readonly string[]): Option {
  return new Option(flags, description).choices(names).argParser(oneOf(names));
}

/** A parser of a list with commas. @param element the parser of each. */
export function listOf<Element>(element: (text: string) => Element) {
  return (text: string): readonly Element[] => text.split(',').map((part) => element(part.trim()));
}

/** For an option that may be given several times. */
export const collect = (text: string, before: readonly string[]): readonly string[] => [...before, text];
