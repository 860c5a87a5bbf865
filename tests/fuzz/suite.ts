// The properties of this folder as one suite, as long as it is asked for.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fuzzCheckpoints } from './checkpoint-files.ts';
import { fuzzConfigs } from './configs.ts';
import { fuzzData } from './data-files.ts';
import type { Tally } from './outcome.ts';
import { fuzzSafetensors } from './safetensors-files.ts';
import { fuzzTraining } from './trained.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
const MOST_KIB = 512 * 1024;
const MOST_MILLISECONDS = 60 * 60_000;

export interface FuzzLengths {
  readonly configs: number;
  readonly trained: number;
  /** Of each kind. */
  readonly files: number;
}

export function fuzzSuite({ configs, trained, files }: FuzzLengths): void {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-fuzz-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  type Fuzz = (runs: number, seed: number, folder: string) => Promise<Tally>;
  const counted = async (title: string, runs: number, fuzz: Fuzz) => {
    const started = performance.now();
    const tally = await fuzz(runs, SEED, mkdtempSync(join(folder, 'fuzz-')));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${runs} ${title} in ${seconds} s (seed ${SEED}): ${tally}`);
    return tally;
  };

  describe(`fuzzing, seed ${SEED} (GRADAMP_TEST_SEED)`, { timeout: MOST_MILLISECONDS }, () => {
    it(`accepts each of ${configs} configs, or refuses it in one line`, async () => {
      const { acceptedShare } = await counted('configs', configs, fuzzConfigs);
      expect(acceptedShare).toBeGreaterThan(0.1);
      expect(acceptedShare).toBeLessThan(0.9);
    });

    it(`trains each of ${trained} tiny configs and goes on with it, or ends in one line`, async () => {
      const { acceptedShare } = await counted('tiny configs trained', trained, fuzzTraining);
      expect(acceptedShare).toBeGreaterThan(trained < 20 ? 0 : 0.5);
    });

    it.each([
      { title: 'checkpoints', fuzz: fuzzCheckpoints },
      { title: 'safetensors files', fuzz: fuzzSafetensors },
      { title: 'data sets', fuzz: fuzzData },
    ])(`reads each of ${files} changed $title, or refuses it in one line`, async ({ title, fuzz }) => {
      const before = process.resourceUsage().maxRSS;
      const { acceptedShare } = await counted(title, files, fuzz);
      expect(acceptedShare).toBeGreaterThan(0.01);
      expect(acceptedShare).toBeLessThan(0.9);
      expect(process.resourceUsage().maxRSS - before).toBeLessThan(MOST_KIB);
    });
  });
}
