import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writeDurably } from '../../src/training/durable.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-durable-'));
  file = join(folder, 'state');
});
afterEach(() => rmSync(folder, { recursive: true }));

const bytes = (...texts: readonly string[]) => texts.map((text) => Buffer.from(text));
const content = () => readFileSync(file, 'utf8');

it('the chunks stand in the file in their order, and nothing stands beside it', async () => {
  await writeDurably(file, bytes('one, ', '', 'two'));
  expect(content()).toBe('one, two');
  expect(readdirSync(folder)).toEqual(['state']);
});

it('chunks may be made while they are written, each larger than one write', async () => {
  async function* blocks() {
    for (const value of [1, 2, 3]) yield new Uint8Array(1_500_000).fill(value);
  }
  await writeDurably(file, blocks());
  const written = readFileSync(file);
  expect(written).toHaveLength(4_500_000);
  expect([0, 1_499_999, 1_500_000, 3_000_000, 4_499_999].map((at) => written[at])).toEqual([1, 1, 2, 3, 3]);
});

it('replaces the file and what a killed process left beside it', async () => {
  writeFileSync(file, 'old and longer');
  writeFileSync(`${file}.tmp`, 'half of something much longer than the new one');
  await writeDurably(file, bytes('new'));
  expect(content()).toBe('new');
  expect(readdirSync(folder)).toEqual(['state']);
});

it('no space for a new file leaves the old one and nothing beside it', async () => {
  writeFileSync(file, 'old');
  symlinkSync('/dev/full', `${file}.tmp`);
  await expect(writeDurably(file, bytes('new'))).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(content()).toBe('old');
  expect(readdirSync(folder)).toEqual(['state']);
});

it('chunks that fail on the way leave the old file and nothing beside it', async () => {
  writeFileSync(file, 'old');
  function* failing() {
    yield Buffer.from('new');
    throw new RangeError('no more');
  }
  await expect(writeDurably(file, failing())).rejects.toThrow('no more');
  expect(content()).toBe('old');
  expect(readdirSync(folder)).toEqual(['state']);
});

it('says where it could not write', async () => {
  const missing = join(folder, 'missing', 'state');
  await expect(writeDurably(missing, bytes('new'))).rejects.toMatchObject({ code: 'ENOENT' });
});
