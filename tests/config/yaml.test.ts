// The YAML of configs: what it is worth, and where it goes deeper than a stack.

import { describe, expect, test } from 'vitest';
import { checkConfig, configDocument, parseConfig } from '../../src/config/load.ts';
import { parseOverride } from '../../src/config/override.ts';
import { MOST_LEVELS, readYaml } from '../../src/config/yaml.ts';
import { UsageError } from '../../src/errors.ts';

const SOUND = { model: 'resnet8', dataset: 'cifar10', schedule: [[1, 0.1, true, 2]] };
const problem = `expected at most ${MOST_LEVELS} levels of maps and lists, got more`;

test('a text is its value, and null where there is none', () => {
  expect(readYaml('a: &a [1, x]\nb: *a\n')).toEqual({ value: { a: [1, 'x'], b: [1, 'x'] } });
  for (const text of ['', '# nothing\n', 'null', '---\n']) expect(readYaml(text)).toEqual({ value: null });
});

test('thirty lists in each other are fine', () => {
  const text = `${'['.repeat(30)}7${']'.repeat(30)}`;
  expect(readYaml(text)).toEqual({ value: JSON.parse(text) });
  expect(readYaml(`${'- '.repeat(30)}7\n`)).toEqual({ value: JSON.parse(text) });
});

test('a text of more than a megabyte is refused', () => {
  expect(readYaml(`#${'x'.repeat(2 ** 20)}`)).toEqual({
    problem: 'expected at most 1048576 characters, got 1048577',
  });
});

test('a whole number of -0 is 0', () => {
  const config = checkConfig({ ...SOUND, seed: -0, seeds: { weights: 0 } }, 'test');
  expect(config).toMatchObject({ seed: 0, seeds: { weights: 0, order: 0 } });
  expect(parseConfig(configDocument(config), 'test')).toEqual(config);
});

test('ten thousand phases are fine', () => {
  const schedule = Array.from({ length: 10_000 }, (_, i) => [i + 1, 0.1, i % 2 === 0, 2]);
  const config = checkConfig({ ...SOUND, schedule }, 'test');
  expect(parseConfig(configDocument(config), 'test')).toEqual(config);
});

// Node 20 ends the process ("RegExpCompiler Allocation failed") where the YAML library meets the end of the stack.
describe('a text that is nested without end is refused, with the place', () => {
  test.each([
    ['lists', `a:\n  ${'['.repeat(50_000)}`],
    ['closed lists', `a:\n  ${'['.repeat(50_000)}${']'.repeat(50_000)}`],
    ['maps', `a:\n  ${'{ b: '.repeat(50_000)}`],
    ['lists of blocks', `a:\n  ${'- '.repeat(50_000)}`],
    ['keys of keys', `a:\n  ${'? '.repeat(50_000)}`],
  ])('%s', (_, text) => {
    expect(readYaml(text)).toEqual({ problem, place: { line: 2, column: expect.any(Number) } });
  });

  test('maps by indentation', () => {
    const lines = Array.from({ length: 500 }, (_, level) => `${' '.repeat(level)}a:`);
    expect(readYaml(lines.join('\n'))).toEqual({
      problem,
      place: { line: expect.any(Number), column: expect.any(Number) },
    });
  });

  test('a value of --set', () => {
    expect(() => parseOverride(`model=${'['.repeat(50_000)}`)).toThrow(
      new UsageError(`--set: model: expected a YAML value, got "${'['.repeat(59)}…`),
    );
  });
});

describe('of an override, the message stays a short line', () => {
  const refusal = (text: string) => {
    try {
      checkConfig(SOUND, 'test', { set: [text] });
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      return (error as UsageError).message;
    }
    throw new Error('expected a refusal');
  };

  test('whose key goes on and on', () => {
    expect(refusal(`${'a.'.repeat(9000)}b=1`)).toBe(
      `--set: ${'a.'.repeat(100)}…: expected at most ${MOST_LEVELS} keys in each other`,
    );
    expect(refusal(`model.name.${'x'.repeat(5000)}=1`)).toBe(
      `--set: model.name.${'x'.repeat(189)}…: expected model.name to be a map, but it is "resnet8"; set model.name as a whole first`,
    );
  });

  test('with a line end that JSON leaves as it is', () => {
    expect(refusal('a\u2028b')).toBe(
      '--set: expected key=value, got "a\\u2028b"; for example --set batchSize=64',
    );
  });
});
