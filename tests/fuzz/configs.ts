// Every config is accepted, and is the same when it is written and read again, or refused with one line.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { checkConfig, configDocument, loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { UsageError } from '../../src/errors.ts';
import { BASE, type ConfigSource, configSources, SHIPPED } from './config-sources.ts';
import { outcomeOf, Tally } from './outcome.ts';

const SOUND = { model: 'resnet8', dataset: 'cifar10', schedule: [[1, 0.1, true, 2]] };

/** @param folder for files. */
export async function fuzzConfigs(runs: number, seed: number, folder: string): Promise<Tally> {
  writeFileSync(join(folder, BASE), SHIPPED[0]);
  const tally = new Tally();
  const property = fc.asyncProperty(configSources, async (source) => {
    const outcome = await outcomeOf([UsageError], () => read(source, join(folder, 'source.yaml')));
    tally.count(source.kind, outcome);
    if ('refusal' in outcome) return;
    const copy = join(folder, 'copy.yaml');
    writeFileSync(copy, configDocument(outcome.value));
    expect(loadConfig(copy)).toEqual(outcome.value);
  });
  await fc.assert(property, { numRuns: runs, seed });
  expect(({} as Record<string, unknown>).model).toBeUndefined();
  return tally;
}

function read(source: ConfigSource, file: string): Config {
  switch (source.kind) {
    case 'document':
      return checkConfig(source.document, 'document');
    case 'text':
      writeFileSync(file, source.text);
      return loadConfig(file);
    case 'override':
      return checkConfig(SOUND, 'document', { set: source.set });
    default:
      return source satisfies never;
  }
}
