// Reads CIFAR-10 and CIFAR-100 from their binary files into shared memory; every fault of a file is named here.

import type { Stats } from 'node:fs';
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { UsageError } from '../errors.ts';
import { type Dataset, type DatasetName, IMAGE_BYTES, type Normalisation, type Split } from './dataset.ts';
import {
  classesOf,
  DESCRIPTION_FILE,
  describeLayout,
  type Layout,
  recordBytes,
  type SyntheticDescription,
} from './layout.ts';
import { measureNormalisation } from './normalisation.ts';

/** Read at a time: a few megabytes stay in the cache between the read and the copy. */
const CHUNK_RECORDS = 1024;

interface DataFile {
  readonly path: string;
  readonly records: number;
}

/**
 * Reads both splits and measures the normalisation.
 *
 * @param directory the folder with the files, or its parent that has the official archive's folder in it.
 * @returns views of one SharedArrayBuffer; passing it to a worker thread copies nothing.
 * @throws UsageError, one line, for a file that is missing or may not be read, a size other than the official one
 *   (or, of a synthetic set, than its description's), a label out of range and images without content.
 */
export async function readCifar(name: DatasetName, directory: string): Promise<Dataset> {
  const layout = describeLayout(name);
  const folder = await findFolder(name, directory);
  const description = await readDescription(name, folder);
  const trainFiles = await measureFiles(layout, folder, 'train', description);
  const testFiles = await measureFiles(layout, folder, 'test', description);
  const trainSize = countRecords(trainFiles);
  const testSize = countRecords(testFiles);

  const memory = allocate((trainSize + testSize) * (IMAGE_BYTES + 1), folder);
  const splitAt = (splitName: Split['name'], offset: number, size: number): Split => ({
    name: splitName,
    size,
    images: new Uint8Array(memory, offset, size * IMAGE_BYTES),
    labels: new Uint8Array(memory, offset + size * IMAGE_BYTES, size),
  });
  const train = splitAt('train', 0, trainSize);
  const test = splitAt('test', trainSize * (IMAGE_BYTES + 1), testSize);
  await readSplit(layout, trainFiles, train);
  await readSplit(layout, testFiles, test);

  return {
    name,
    classes: classesOf(name),
    train,
    test,
    normalisation: normalisationOf(train, folder),
    synthetic: description !== undefined,
  };
}

/** What a synthetic set says of itself; nothing for a real one. Throws like `readCifar` where there is no set. */
export async function readDatasetDescription(
  name: DatasetName,
  directory: string,
): Promise<SyntheticDescription | undefined> {
  return readDescription(name, await findFolder(name, directory));
}

async function findFolder(name: DatasetName, directory: string): Promise<string> {
  const { title, folder, files } = describeLayout(name);
  const remedy = `get it with \`gradamp data download ${name} --out ${directory}\`, or make a synthetic set with \`gradamp data synthesize --dataset ${name} --out ${directory}\``;
  const information = await look(directory);
  if (!information)
    throw new UsageError(`${directory}: expected a folder with ${title}, found nothing; ${remedy}`);
  if (!information.isDirectory()) {
    throw new UsageError(`${directory}: expected a folder with ${title}, found a file; name the folder`);
  }
  const [found] = await locateSets(name, directory);
  if (found !== undefined) return found;
  throw new UsageError(
    `${directory}: expected ${title} (${files.train[0]}, ...) in it or in its folder ${folder}, found neither; ${remedy}`,
  );
}

/**
 * Where files of the set are, if only one: `directory`, the official archive's folder in it, both or neither.
 * @throws UsageError where that cannot be told.
 */
export async function locateSets(name: DatasetName, directory: string): Promise<readonly string[]> {
  const { folder, files } = describeLayout(name);
  const found: string[] = [];
  for (const candidate of [directory, join(directory, folder)]) {
    for (const file of [...files.train, ...files.test]) {
      if (!(await look(join(candidate, file)))) continue;
      found.push(candidate);
      break;
    }
  }
  return found;
}

/** What is at `path`; undefined where there is nothing, which is not the same as what may not be looked at. */
export function look(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error) => {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  });
}

function isMissing({ code }: NodeJS.ErrnoException): boolean {
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function unreadable(path: string, { code }: NodeJS.ErrnoException): UsageError {
  return new UsageError(`${path}: may not be read (${code}); check its permissions`);
}

const descriptionSchema = z.object({
  synthetic: z.literal(true),
  dataset: z.enum(['cifar10', 'cifar100']),
  train: z.int().positive(),
  test: z.int().positive(),
  seed: z.int().nonnegative(),
  difficulty: z.number().min(0).max(1),
  version: z.int().positive(),
}) satisfies z.ZodType<SyntheticDescription>;

async function readDescription(name: DatasetName, folder: string): Promise<SyntheticDescription | undefined> {
  const path = join(folder, DESCRIPTION_FILE);
  const text = await readFile(path, 'utf8').catch((error) => {
    if (isMissing(error)) return undefined;
    throw unreadable(path, error);
  });
  if (text === undefined) return undefined;
  const { data: description, success } = descriptionSchema.safeParse(parseJson(text));
  if (!success) {
    throw new UsageError(
      `${path}: expected the description of a synthetic set, got something else; make the set again with \`gradamp data synthesize\``,
    );
  }
  if (description.dataset !== name) {
    throw new UsageError(
      `${path}: expected ${name}, got a set of ${description.dataset}; set \`dataset: ${description.dataset}\` or another folder`,
    );
  }
  return description;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Checks that the files of a split are there and have the right sizes, before anything is allocated. */
async function measureFiles(
  layout: Layout,
  folder: string,
  split: Split['name'],
  description: SyntheticDescription | undefined,
): Promise<readonly DataFile[]> {
  const size = recordBytes(layout);
  const paths = layout.files[split].map((file) => join(folder, file));
  const files: DataFile[] = [];
  // One after the other: of several that are wrong, the first is the one that is named.
  for (const path of paths) {
    const information = await look(path);
    const again = description
      ? 'make the set again with `gradamp data synthesize`'
      : `unpack ${layout.archive} again`;
    if (!information?.isFile()) {
      const found = information ? 'something else' : 'nothing';
      throw new UsageError(`${path}: expected a file of ${layout.title}, found ${found}; ${again}`);
    }
    const bytes = information.size;
    const records = bytes / size;
    const official = layout.officialRecords[split];
    if (!description && records !== official) {
      throw new UsageError(
        `${path}: truncated or wrong size: expected ${official * size} bytes (${official} records of ${size}), got ${bytes}; ${again}`,
      );
    }
    if (records === 0 || !Number.isInteger(records)) {
      throw new UsageError(
        `${path}: truncated or wrong size: expected a positive multiple of ${size} bytes (one record), got ${bytes}; ${again}`,
      );
    }
    files.push({ path, records });
  }
  const records = countRecords(files);
  if (description && records !== description[split]) {
    const first = basename(paths[0]);
    const span = paths.length === 1 ? first : `${first} to ${basename(paths[paths.length - 1])}`;
    throw new UsageError(
      `${folder}: expected ${description[split]} records in ${span} as ${DESCRIPTION_FILE} says, got ${records}; make the set again with \`gradamp data synthesize\``,
    );
  }
  return files;
}

/** A file may state any size and take no room on the disk. */
function allocate(bytes: number, folder: string): SharedArrayBuffer {
  if (bytes > totalmem()) {
    const [needed, there] = [bytes, totalmem()].map((size) => `${(size / 2 ** 30).toFixed(1)} GiB`);
    throw new UsageError(
      `${folder}: expected images that fit the ${there} of this machine, but they need ${needed}; make a smaller set`,
    );
  }
  return new SharedArrayBuffer(bytes);
}

function countRecords(files: readonly DataFile[]): number {
  return files.reduce((total, { records }) => total + records, 0);
}

async function readSplit(layout: Layout, files: readonly DataFile[], split: Split): Promise<void> {
  const chunk = new Uint8Array(CHUNK_RECORDS * recordBytes(layout));
  let first = 0;
  for (const { path, records } of files) {
    const file = await open(path).catch((error) => {
      throw unreadable(path, error);
    });
    try {
      for (let record = 0; record < records; record += CHUNK_RECORDS) {
        const bytes = chunk.subarray(0, Math.min(CHUNK_RECORDS, records - record) * recordBytes(layout));
        await fill(file, path, bytes);
        copyRecords({ layout, bytes, split, first: first + record, path, record });
      }
    } finally {
      await file.close();
    }
    first += records;
  }
}

async function fill(file: FileHandle, path: string, bytes: Uint8Array): Promise<void> {
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled);
    if (bytesRead === 0)
      throw new UsageError(`${path}: expected more bytes, got its end; is it still being written?`);
    filled += bytesRead;
  }
}

interface Chunk {
  readonly layout: Layout;
  /** Whole records. */
  readonly bytes: Uint8Array;
  readonly split: Split;
  /** Where the chunk's first record goes in the split, and where it is in its file. */
  readonly first: number;
  readonly record: number;
  readonly path: string;
}

function copyRecords({ layout, bytes, split, first, record, path }: Chunk): void {
  const size = recordBytes(layout);
  for (let start = 0, i = 0; start < bytes.length; start += size, i++) {
    for (let byte = 0; byte < layout.labels.length; byte++) {
      const { kind, classes } = layout.labels[byte];
      if (bytes[start + byte] >= classes) {
        throw new UsageError(
          `${path}: record ${record + i + 1}: expected a ${kind} label in 0..${classes - 1}, got ${bytes[start + byte]}; is it ${layout.title}?`,
        );
      }
    }
    split.labels[first + i] = bytes[start + layout.target];
    split.images.set(bytes.subarray(start + layout.labels.length, start + size), (first + i) * IMAGE_BYTES);
  }
}

/** The folder is named where the images have no content. */
function normalisationOf(train: Split, folder: string): Normalisation {
  try {
    return measureNormalisation(train.images);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${folder}: ${error.message}`);
    throw error;
  }
}
