// What checking a folder finds, file by file.

import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, describe as group, test } from 'vitest';
import { officialArchive } from '../../src/data/archive.ts';
import { checkFiles, describeCheck } from '../../src/data/checksums.ts';
import { writeCifar } from '../../src/data/cifar-writer.ts';
import { verifyData } from '../../src/data/verify.ts';
import { describe, FILES, md5Of } from './download-fixtures.ts';
import { messageOf, randomSet, temporaryFolder } from './fixtures.ts';

test('the official archives are those of the CIFAR page', () => {
  const cifar10 = officialArchive('cifar10');
  expect(cifar10).toMatchObject({
    url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    bytes: 170_052_171,
    md5: 'c32a1d4ab5d03f1284b67883e8d87530',
    folder: 'cifar-10-batches-bin',
  });
  expect(cifar10.files.map(({ name, published }) => [name, published?.bytes])).toEqual([
    ...[1, 2, 3, 4, 5].map((batch) => [`data_batch_${batch}.bin`, 30_730_000]),
    ['test_batch.bin', 30_730_000],
    ['batches.meta.txt', undefined],
  ]);
  expect(officialArchive('cifar100')).toMatchObject({
    url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    bytes: 168_513_733,
    md5: '03b5dce01913d631647c71ecec9e9cb8',
    folder: 'cifar-100-binary',
    files: [
      { name: 'train.bin', published: { bytes: 153_700_000, md5: '6172c7755cfe09b2fe270c85cebc1b15' } },
      { name: 'test.bin', published: { bytes: 30_740_000, md5: '4499cfba6c016c1be1438163640a0898' } },
      { name: 'coarse_label_names.txt' },
      { name: 'fine_label_names.txt' },
    ],
  });
  const sums = cifar10.files.flatMap(({ published }) => published?.md5 ?? []);
  expect(new Set(sums).size).toBe(6);
  for (const sum of sums) expect(sum).toMatch(/^[0-9a-f]{32}$/);
});

group('a file', () => {
  const { files } = describe(Buffer.alloc(0));
  const folderWithFiles = () => {
    const folder = temporaryFolder();
    for (const [name, content] of Object.entries(FILES)) writeFileSync(join(folder, name), content);
    return folder;
  };
  const check = async (folder: string) => (await checkFiles(folder, files)).map(describeCheck);

  test('is as published, or present where nothing is published', async () => {
    const present = 'present (no size and md5 are published)';
    expect(await check(folderWithFiles())).toEqual(['ok', 'ok', present]);
  });

  test('has a wrong size, a wrong md5, or is missing', async () => {
    const folder = folderWithFiles();
    truncateSync(join(folder, 'data.bin'), 149_999);
    const content = Buffer.from(FILES['more.bin']);
    content[7] ^= 1;
    writeFileSync(join(folder, 'more.bin'), content);
    rmSync(join(folder, 'names.txt'));
    expect(await check(folder)).toEqual([
      'wrong size: expected 150000, got 149999',
      `wrong md5: expected ${md5Of(FILES['more.bin'])}, got ${md5Of(content)}`,
      'missing',
    ]);
  });

  test('may be something else than a file', async () => {
    const folder = folderWithFiles();
    rmSync(join(folder, 'data.bin'));
    mkdirSync(join(folder, 'data.bin'));
    expect((await check(folder))[0]).toBe('unreadable: not a file');
  });
});

group('a folder', () => {
  test('that cannot be looked at is told with the error, and not taken for an empty one', async () => {
    const folder = temporaryFolder();
    // The same fault for every user: root may read anything.
    symlinkSync('data_batch_1.bin', join(folder, 'data_batch_1.bin'));
    expect(await messageOf(verifyData(folder))).toBe(
      `UsageError: ${folder}/data_batch_1.bin: may not be read (ELOOP); check its permissions`,
    );
  });

  test('of the real names is compared with the official sums', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'train.bin'), '');
    writeFileSync(join(folder, 'test.bin'), '');
    truncateSync(join(folder, 'test.bin'), 30_740_000);
    writeFileSync(join(folder, 'fine_label_names.txt'), 'apple\n');
    expect(await verifyData(folder)).toEqual([
      {
        dataset: 'cifar100',
        folder,
        synthetic: false,
        ok: false,
        files: [
          { name: 'train.bin', outcome: 'wrong size', expected: 153_700_000, found: 0 },
          {
            name: 'test.bin',
            outcome: 'wrong md5',
            expected: '4499cfba6c016c1be1438163640a0898',
            found: md5Of(Buffer.alloc(30_740_000)),
          },
          { name: 'coarse_label_names.txt', outcome: 'missing' },
          { name: 'fine_label_names.txt', outcome: 'present' },
        ],
      },
    ]);
  });

  test('may be the parent of both sets', async () => {
    const folder = temporaryFolder();
    const names = { 'cifar-10-batches-bin': 'test_batch.bin', 'cifar-100-binary': 'train.bin' };
    for (const [child, name] of Object.entries(names)) {
      mkdirSync(join(folder, child));
      writeFileSync(join(folder, child, name), '');
    }
    const sets = await verifyData(folder);
    expect(sets.map((set) => [set.dataset, set.folder])).toEqual([
      ['cifar10', join(folder, 'cifar-10-batches-bin')],
      ['cifar100', join(folder, 'cifar-100-binary')],
    ]);
  });

  test('with a synthetic set is checked in sizes and labels', async () => {
    const folder = join(temporaryFolder(), 'set');
    await writeCifar(folder, randomSet('cifar10', { train: 10, test: 5 }));
    const set = { dataset: 'cifar10', folder, synthetic: true, files: [] };
    expect(await verifyData(folder)).toEqual([{ ...set, ok: true }]);

    const path = join(folder, 'test_batch.bin');
    const bytes = readFileSync(path);
    bytes[0] = 10;
    writeFileSync(path, bytes);
    const problem = expect.stringMatching(
      /test_batch\.bin: record 1: expected a class label in 0\.\.9, got 10/,
    );
    expect(await verifyData(folder)).toEqual([{ ...set, ok: false, problem }]);
    truncateSync(path, 3000);
    expect(await verifyData(folder)).toMatchObject([
      { ok: false, problem: expect.stringContaining('wrong size') },
    ]);
  });

  test('without a set is wrong input', async () => {
    const folder = temporaryFolder();
    expect(await messageOf(verifyData(folder))).toBe(
      `UsageError: ${folder}: expected the files of CIFAR-10 or CIFAR-100 in it or in their archives' folders, found none; get them with \`gradamp data download cifar10\``,
    );
  });
});
