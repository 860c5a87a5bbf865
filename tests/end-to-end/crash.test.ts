// Runs that are killed at moments of four kinds and are in the end what they would have been. At length:
// tests/slow/crash.test.ts.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { isBuilt } from '../../src/engines/torch/load.ts';
import { PATIENCE } from '../cli/program.ts';
import { type KilledRun, surviveKills } from './killed-run.ts';

const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 100_000);
const MOMENTS = ['analysis', 'amplified', 'selection', 'checkpoint'] as const;

const folder = mkdtempSync(join(tmpdir(), 'gradamp-crash-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function survive(engine: KilledRun['engine'], workers: number) {
  const options = {
    engine,
    workers,
    folder,
    width: 0.25,
    images: 60,
    kills: MOMENTS.length,
    moments: MOMENTS,
    seed: SEED,
  };
  const { kills, summary } = await surviveKills(options);
  console.log(summary);
  expect(kills.map(({ moment }) => moment)).toEqual(MOMENTS);
}

test(`two workers, killed four times (seed ${SEED}), give the same bits`, PATIENCE, () => survive('tfjs', 2));

test.skipIf(!isBuilt())(
  `a worker on torch, killed four times (seed ${SEED}), gives the same bits`,
  PATIENCE,
  () => survive('torch', 1),
);
