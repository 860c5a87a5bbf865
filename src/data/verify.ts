// Tells whether a data folder holds what it should: the real sets to the byte, synthetic ones in sizes and labels.

import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import { officialArchive } from './archive.ts';
import { checkFiles, type FileCheck, isSound } from './checksums.ts';
import { locateSets, look, readCifar } from './cifar.ts';
import type { DatasetName } from './dataset.ts';
import { DESCRIPTION_FILE } from './layout.ts';

export interface VerifiedSet {
  readonly dataset: DatasetName;
  readonly folder: string;
  readonly synthetic: boolean;
  readonly ok: boolean;
  /** Of a real set; of a synthetic one nothing is published. */
  readonly files: readonly FileCheck[];
  /** Of a synthetic set that is damaged. */
  readonly problem?: string;
}

/**
 * Every set in `directory` or in the official archives' folders in it, detected by its files.
 *
 * @throws UsageError where there is none, or what is there cannot be looked at.
 */
export async function verifyData(directory: string): Promise<readonly VerifiedSet[]> {
  const sets: VerifiedSet[] = [];
  for (const dataset of ['cifar10', 'cifar100'] as const) {
    for (const folder of await locateSets(dataset, directory)) sets.push(await verifySet(dataset, folder));
  }
  if (sets.length > 0) return sets;
  throw new UsageError(
    `${directory}: expected the files of CIFAR-10 or CIFAR-100 in it or in their archives' folders, found none; get them with \`gradamp data download cifar10\``,
  );
}

async function verifySet(dataset: DatasetName, folder: string): Promise<VerifiedSet> {
  if (!(await look(join(folder, DESCRIPTION_FILE)))) {
    const files = await checkFiles(folder, officialArchive(dataset).files);
    return { dataset, folder, synthetic: false, ok: files.every(isSound), files };
  }
  try {
    await readCifar(dataset, folder);
    return { dataset, folder, synthetic: true, ok: true, files: [] };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { dataset, folder, synthetic: true, ok: false, files: [], problem: error.message };
  }
}
