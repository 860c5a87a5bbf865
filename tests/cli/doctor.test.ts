// `gradamp doctor`: the data folders that it finds, and those that it cannot read.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findData } from '../../src/cli/doctor.ts';
import { synthesize } from '../../src/data/synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-doctor-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (...parts: string[]) => join(folder, ...parts);

test('data folders are told with what they hold, or with why they cannot be read', async () => {
  await synthesize({ dataset: 'cifar100', directory: at('b-synthetic'), seed: 4, train: 100, test: 100 });
  for (const name of ['a-loop', 'c-other', 'd-broken']) mkdirSync(at(name));
  symlinkSync('data_batch_1.bin', at('a-loop', 'data_batch_1.bin'));
  writeFileSync(at('c-other', 'notes.txt'), '');
  writeFileSync(at('d-broken', 'test_batch.bin'), '');
  writeFileSync(at('d-broken', 'synthetic.json'), '{}');
  writeFileSync(at('a-file'), '');
  expect(await findData(folder)).toEqual([
    {
      folder: at('a-loop'),
      dataset: null,
      synthetic: null,
      problem: `${at('a-loop', 'data_batch_1.bin')}: may not be read (ELOOP); check its permissions`,
    },
    {
      folder: at('b-synthetic'),
      dataset: 'cifar100',
      synthetic: expect.objectContaining({ train: 100, test: 100, seed: 4 }),
      problem: null,
    },
    {
      folder: at('d-broken'),
      dataset: 'cifar10',
      synthetic: null,
      problem: expect.stringMatching(/synthetic\.json: expected the description of a synthetic set/),
    },
  ]);
});

test('no folder is no problem, a file in its place is one', async () => {
  expect(await findData(at('nowhere'))).toEqual([]);
  expect(await findData(at('a-file'))).toEqual([
    { folder: at('a-file'), dataset: null, synthetic: null, problem: expect.stringMatching(/^ENOTDIR/) },
  ]);
});
