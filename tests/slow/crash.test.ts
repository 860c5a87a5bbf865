// Runs that are killed 25 times each, at moments of every kind, and are in the end what they would have been.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { MOMENTS, surviveKills } from '../end-to-end/killed-run.ts';

const KILLS = 25;
const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 100_000);

const folder = mkdtempSync(join(tmpdir(), 'gradamp-crash-'));
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  { engine: 'tfjs', workers: 1 },
  { engine: 'tfjs', workers: 2 },
  { engine: 'torch', workers: 1 },
  { engine: 'torch', workers: 2 },
] as const)(
  `engine $engine, $workers workers: killed ${KILLS} times (seed ${SEED}), the same bits`,
  { timeout: 20 * 60_000 },
  async ({ engine, workers }) => {
    const options = {
      engine,
      workers,
      folder,
      width: 0.5,
      images: 280,
      kills: KILLS,
      moments: MOMENTS,
      seed: SEED,
    };
    const { kills, summary } = await surviveKills(options);
    console.log(summary);
    for (const moment of MOMENTS) {
      expect(
        kills.some((kill) => kill.moment === moment && kill.met),
        moment,
      ).toBe(true);
    }
    expect(kills.some(({ duringWrite }) => duringWrite)).toBe(true);
  },
);
