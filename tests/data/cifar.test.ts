import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCifar, readDatasetDescription } from '../../src/data/cifar.ts';
import { writeCifar } from '../../src/data/cifar-writer.ts';
import type { DatasetName } from '../../src/data/dataset.ts';
import { describeLayout } from '../../src/data/layout.ts';
import { messageOf, randomSet, sameBytes, temporaryFolder } from './fixtures.ts';

const SIZES = { train: 23, test: 7 };

async function written(name: DatasetName, sizes = SIZES): Promise<string> {
  const folder = join(temporaryFolder(), 'set');
  await writeCifar(folder, randomSet(name, sizes));
  return folder;
}

function overwriteByte(path: string, position: number, value: number): void {
  const file = openSync(path, 'r+');
  writeSync(file, Uint8Array.of(value), 0, 1, position);
  closeSync(file);
}

function truncate(path: string, bytes: number): void {
  const file = openSync(path, 'a');
  ftruncateSync(file, bytes);
  closeSync(file);
}

describe('readCifar', () => {
  for (const name of ['cifar10', 'cifar100'] as const) {
    it(`reads back what was written, in order over the files, ${name}`, async () => {
      const dataset = await readCifar(name, await written(name));
      const expected = randomSet(name, SIZES);
      const { target } = describeLayout(name);
      expect([dataset.name, dataset.classes]).toEqual([name, name === 'cifar10' ? 10 : 100]);
      expect([dataset.train.size, dataset.test.size]).toEqual([23, 7]);
      expect(sameBytes(dataset.train.images, expected.train.images)).toBe(true);
      expect(dataset.train.labels).toEqual(expected.train.labels[target]);
      expect(sameBytes(dataset.test.images, expected.test.images)).toBe(true);
      expect(dataset.test.labels).toEqual(expected.test.labels[target]);
    });
  }

  it('reads files of more records than one read holds', async () => {
    const sizes = { train: 1500, test: 2 };
    const dataset = await readCifar('cifar100', await written('cifar100', sizes));
    expect(sameBytes(dataset.train.images, randomSet('cifar100', sizes).train.images)).toBe(true);
  });

  it('holds everything in one SharedArrayBuffer, which a structured clone shares', async () => {
    const dataset = await readCifar('cifar10', await written('cifar10'));
    const { train, test } = dataset;
    expect(train.images.buffer).toBeInstanceOf(SharedArrayBuffer);
    const buffers = [train.images, train.labels, test.images, test.labels].map(({ buffer }) => buffer);
    expect(new Set(buffers).size).toBe(1);
    expect(train.images.buffer.byteLength).toBe(30 * 3073);
    const clone = structuredClone(dataset);
    train.images[5] = 77;
    expect(clone.train.images[5]).toBe(77);
  });

  it("finds the official archive's folder inside the one named", async () => {
    const folder = await written('cifar10');
    const parent = temporaryFolder();
    renameSync(folder, join(parent, 'cifar-10-batches-bin'));
    expect((await readCifar('cifar10', parent)).train.size).toBe(23);
  });

  it('reads unequal files of one split', async () => {
    const folder = await written('cifar10');
    const [first, second] = [1, 2].map((batch) => join(folder, `data_batch_${batch}.bin`));
    const records = statSync(second).size / 3073;
    truncate(first, 3073);
    truncate(second, (records + 3) * 3073);
    expect((await readCifar('cifar10', folder)).train.size).toBe(23);
  });

  it('knows a synthetic set from the real archive, whose files have exact sizes', async () => {
    const synthetic = await written('cifar10');
    expect((await readCifar('cifar10', synthetic)).synthetic).toBe(true);
    expect(await readDatasetDescription('cifar10', synthetic)).toEqual(
      randomSet('cifar10', SIZES).description,
    );

    const official = temporaryFolder();
    for (const file of [
      'data_batch_1',
      'data_batch_2',
      'data_batch_3',
      'data_batch_4',
      'data_batch_5',
      'test_batch',
    ]) {
      const path = join(official, `${file}.bin`);
      writeFileSync(path, '');
      truncate(path, 30_730_000);
      for (const channel of [0, 1, 2]) overwriteByte(path, 1 + 1024 * channel, 200);
    }
    expect(await readDatasetDescription('cifar10', official)).toBeUndefined();
    const dataset = await readCifar('cifar10', official);
    expect([dataset.synthetic, dataset.train.size, dataset.test.size]).toEqual([false, 50_000, 10_000]);
  });
});

describe('readCifar refuses, in one line', () => {
  const remedy = (name: string, folder: string) =>
    `get it with \`gradamp data download ${name} --out ${folder}\`, or make a synthetic set with \`gradamp data synthesize --dataset ${name} --out ${folder}\``;
  const again = 'make the set again with `gradamp data synthesize`';

  it('a folder that is not there', async () => {
    const folder = join(temporaryFolder(), 'nowhere');
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}: expected a folder with CIFAR-10, found nothing; ${remedy('cifar10', folder)}`,
    );
  });

  it('a file in place of the folder', async () => {
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, 'x');
    expect(await messageOf(readCifar('cifar10', path))).toBe(
      `UsageError: ${path}: expected a folder with CIFAR-10, found a file; name the folder`,
    );
  });

  it('a folder with none of the files, and one with the other data set', async () => {
    const empty = temporaryFolder();
    expect(await messageOf(readCifar('cifar100', empty))).toBe(
      `UsageError: ${empty}: expected CIFAR-100 (train.bin, ...) in it or in its folder cifar-100-binary, found neither; ${remedy('cifar100', empty)}`,
    );
    const other = await written('cifar10');
    expect(await messageOf(readCifar('cifar100', other))).toMatch(/found neither/);
  });

  it('a missing file', async () => {
    const folder = await written('cifar10');
    rmSync(join(folder, 'data_batch_3.bin'));
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}/data_batch_3.bin: expected a file of CIFAR-10, found nothing; ${again}`,
    );
  });

  // A link to itself stands in for a lack of permission, which root never has: it is neither there nor missing.
  it('a folder, a file or a description that may not be read, which is not a missing one', async () => {
    const unreadable = (path: string) =>
      `UsageError: ${path}: may not be read (ELOOP); check its permissions`;
    const loop = join(temporaryFolder(), 'loop');
    symlinkSync(loop, loop);
    expect(await messageOf(readCifar('cifar10', join(loop, 'set')))).toBe(unreadable(join(loop, 'set')));

    for (const file of ['data_batch_1.bin', 'data_batch_2.bin', 'synthetic.json']) {
      const folder = await written('cifar10');
      const path = join(folder, file);
      rmSync(path);
      symlinkSync(path, path);
      expect(await messageOf(readCifar('cifar10', folder))).toBe(unreadable(path));
    }
  });

  it('training images without content, by their folder', async () => {
    const folder = join(temporaryFolder(), 'set');
    const set = randomSet('cifar10', SIZES);
    set.train.images.fill(0);
    await writeCifar(folder, set);
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}: the training images have the value 0 in every pixel of channel R: expected pictures; check the data files`,
    );
  });

  it('a folder in place of a file', async () => {
    const folder = await written('cifar10');
    rmSync(join(folder, 'test_batch.bin'));
    mkdirSync(join(folder, 'test_batch.bin'));
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}/test_batch.bin: expected a file of CIFAR-10, found something else; ${again}`,
    );
  });

  it('a synthetic file that is cut inside a record or empty', async () => {
    const folder = await written('cifar100');
    const path = join(folder, 'train.bin');
    const size = 'truncated or wrong size: expected a positive multiple of 3074 bytes (one record)';
    truncate(path, 23 * 3074 - 1);
    expect(await messageOf(readCifar('cifar100', folder))).toBe(
      `UsageError: ${path}: ${size}, got 70701; ${again}`,
    );
    truncate(path, 0);
    expect(await messageOf(readCifar('cifar100', folder))).toBe(
      `UsageError: ${path}: ${size}, got 0; ${again}`,
    );
  });

  it('a synthetic split with whole records missing', async () => {
    const folder = await written('cifar10');
    truncate(join(folder, 'data_batch_5.bin'), 3073);
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}: expected 23 records in data_batch_1.bin to data_batch_5.bin as synthetic.json says, got 19; ${again}`,
    );
    const other = await written('cifar100');
    truncate(join(other, 'test.bin'), 3074);
    expect(await messageOf(readCifar('cifar100', other))).toBe(
      `UsageError: ${other}: expected 7 records in test.bin as synthetic.json says, got 1; ${again}`,
    );
  });

  it('a file of any other size where nothing says that the set is synthetic', async () => {
    const folder = await written('cifar10');
    rmSync(join(folder, 'synthetic.json'));
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${folder}/data_batch_1.bin: truncated or wrong size: expected 30730000 bytes (10000 records of 3073), got 12292; unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz again`,
    );
  });

  it('a label out of range, by file and record', async () => {
    const folder = await written('cifar10');
    const path = join(folder, 'data_batch_2.bin');
    overwriteByte(path, 2 * 3073, 10);
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${path}: record 3: expected a class label in 0..9, got 10; is it CIFAR-10?`,
    );
  });

  it('a coarse and a fine label out of range', async () => {
    const folder = await written('cifar100');
    const path = join(folder, 'test.bin');
    overwriteByte(path, 6 * 3074 + 1, 100);
    expect(await messageOf(readCifar('cifar100', folder))).toBe(
      `UsageError: ${path}: record 7: expected a fine label in 0..99, got 100; is it CIFAR-100?`,
    );
    overwriteByte(path, 4 * 3074, 20);
    expect(await messageOf(readCifar('cifar100', folder))).toBe(
      `UsageError: ${path}: record 5: expected a coarse label in 0..19, got 20; is it CIFAR-100?`,
    );
  });

  it('files of holes that no machine could hold, whose description says so', async () => {
    const folder = await written('cifar100');
    const records = 2 ** 32;
    truncateSync(join(folder, 'train.bin'), records * 3074);
    const { description } = randomSet('cifar100', SIZES);
    writeFileSync(join(folder, 'synthetic.json'), JSON.stringify({ ...description, train: records }));
    expect(await messageOf(readCifar('cifar100', folder))).toMatch(
      /^UsageError: \S+: expected images that fit the [\d.]+ GiB of this machine, but they need 12292\.0 GiB; make a smaller set$/,
    );
  });

  it('a description that is not one, or of the other data set', async () => {
    const folder = await written('cifar10');
    const path = join(folder, 'synthetic.json');
    for (const text of ['{', '{"synthetic": true}', '']) {
      writeFileSync(path, text);
      expect(await messageOf(readCifar('cifar10', folder))).toBe(
        `UsageError: ${path}: expected the description of a synthetic set, got something else; ${again}`,
      );
    }
    writeFileSync(path, JSON.stringify(randomSet('cifar100', SIZES).description));
    expect(await messageOf(readCifar('cifar10', folder))).toBe(
      `UsageError: ${path}: expected cifar10, got a set of cifar100; set \`dataset: cifar100\` or another folder`,
    );
  });
});
