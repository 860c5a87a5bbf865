import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AppendFile } from '../../src/training/append-file.ts';
import { canLimit, limitFileSize } from './file-size-limit.ts';

let folder: string;
let path: string;
let told: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-append-'));
  path = join(folder, 'lines');
  told = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const observer = {
  onFailure: (file: string, { code }: NodeJS.ErrnoException) => told.push(`${file} refused: ${code}`),
  onRecovery: (file: string) => told.push(`${file} recovered`),
};
const content = () => readFileSync(path, 'utf8');

it('comes into being with the first text and grows by whole ones', () => {
  const file = new AppendFile(path, observer);
  expect(existsSync(path)).toBe(false);
  file.append('one\n');
  file.append(Buffer.from('größe\n'));
  expect(content()).toBe('one\ngröße\n');
  expect(told).toEqual([]);
});

it('goes on behind the whole lines of a file that is there', () => {
  writeFileSync(path, 'one\ntwo\n');
  new AppendFile(path, observer).append('three\n');
  expect(content()).toBe('one\ntwo\nthree\n');
});

it.each([
  ['a line without its end', 'one\ntwo\nthr', 'one\ntwo\nnew\n'],
  ['nothing but such a line', 'on', 'new\n'],
  ['zeros that were never written', 'one\n\0\0\0\0', 'one\nnew\n'],
])('what a power loss leaves makes way: %s', (_, torn, expected) => {
  writeFileSync(path, torn);
  const file = new AppendFile(path, observer);
  file.append('new\n');
  expect(content()).toBe(expected);
});

describe('where the disk is full', () => {
  it('texts wait in their order, are told of once, and are all written when there is space', () => {
    symlinkSync('/dev/full', path);
    const file = new AppendFile(path, observer);
    file.append('one\n');
    file.append('two\n');
    expect(told).toEqual([`${path} refused: ENOSPC`]);
    unlinkSync(path);
    file.append('three\n');
    expect(content()).toBe('one\ntwo\nthree\n');
    expect(told).toEqual([`${path} refused: ENOSPC`, `${path} recovered`]);
  });

  it('a retry writes what waits, and nothing where nothing does', () => {
    symlinkSync('/dev/full', path);
    const file = new AppendFile(path, observer);
    file.append('one\n');
    unlinkSync(path);
    file.retry();
    file.retry();
    expect(content()).toBe('one\n');
    expect(told).toEqual([`${path} refused: ENOSPC`, `${path} recovered`]);
  });

  it('every outage is told of', () => {
    const file = new AppendFile(path, observer);
    for (const text of ['one\n', 'two\n']) {
      symlinkSync('/dev/full', path);
      file.append(text);
      unlinkSync(path);
      file.retry();
      expect(content()).toBe(text);
      unlinkSync(path);
    }
    expect(told).toEqual([1, 2].flatMap(() => [`${path} refused: ENOSPC`, `${path} recovered`]));
  });

  it('the last flush fails with what the system says while anything waits', () => {
    symlinkSync('/dev/full', path);
    const file = new AppendFile(path, observer);
    file.append('one\n');
    expect(() => file.flush()).toThrow(/ENOSPC/);
    expect(() => file.flush()).toThrow(/ENOSPC/);
    unlinkSync(path);
    file.flush();
    expect(content()).toBe('one\n');
    expect(told).toEqual([`${path} refused: ENOSPC`, `${path} recovered`]);
  });
});

describe.skipIf(!canLimit)('where the system takes only a part of a write', () => {
  afterEach(() => limitFileSize('unlimited'));

  it('the part is cut off, so that a reader never sees half a text', () => {
    const file = new AppendFile(path, observer);
    limitFileSize(100);
    file.append(`${'a'.repeat(69)}\n`);
    file.append(`${'b'.repeat(69)}\n`);
    expect(content()).toBe(`${'a'.repeat(69)}\n`);
    file.append('c\n');
    expect(content()).toBe(`${'a'.repeat(69)}\n`);
    expect(told).toEqual([`${path} refused: EFBIG`]);
    limitFileSize('unlimited');
    file.append('d\n');
    expect(content()).toBe(`${'a'.repeat(69)}\n${'b'.repeat(69)}\nc\nd\n`);
    expect(told).toEqual([`${path} refused: EFBIG`, `${path} recovered`]);
  });
});

it('a folder that is gone is an outage like others', () => {
  const inside = join(folder, 'run');
  mkdirSync(inside);
  path = join(inside, 'lines');
  const file = new AppendFile(path, observer);
  file.append('one\n');
  rmSync(inside, { recursive: true });
  file.append('two\n');
  expect(told).toEqual([`${path} refused: ENOENT`]);
  mkdirSync(inside);
  file.append('three\n');
  expect(content()).toBe('two\nthree\n');
});

describe('replacing', () => {
  it('leaves the new texts alone, and grows from there', async () => {
    writeFileSync(path, 'old one\nold tw');
    const file = await AppendFile.replacing(path, 'one\n', observer);
    expect(content()).toBe('one\n');
    expect(readdirSync(folder)).toEqual(['lines']);
    file.append('two\n');
    expect(content()).toBe('one\ntwo\n');
  });

  it('on a full disk the old texts stay until the new ones can be written', async () => {
    writeFileSync(path, 'old one\nold two\nold three\n');
    symlinkSync('/dev/full', `${path}.tmp`);
    const file = await AppendFile.replacing(path, 'one\n', observer);
    expect(content()).toBe('old one\nold two\nold three\n');
    expect(told).toEqual([`${path} refused: ENOSPC`]);
    file.append('two\n');
    expect(content()).toBe('one\ntwo\n');
    expect(told).toEqual([`${path} refused: ENOSPC`, `${path} recovered`]);
  });
});
