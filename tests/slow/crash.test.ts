// Runs that are killed 25 times each, at moments of every kind, and are in the end what they would have been.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import {
  complete,
  type Kill,
  type KilledRunOptions,
  killAt,
  MOMENTS,
  outcome,
  prepare,
} from './killed-run.ts';

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
    const options: KilledRunOptions = { engine, workers, folder };
    await prepare(options);
    await complete(options, `${engine}-${workers}-whole`, '--set', 'checkpoint.everyMinutes=never');
    const whole = await outcome(options, `${engine}-${workers}-whole`);
    const kills: Kill[] = [];
    let run = 0;
    while (kills.length < KILLS) {
      const name = `${engine}-${workers}-killed-${run}`;
      const kill = await killAt(
        options,
        name,
        MOMENTS[kills.length % MOMENTS.length],
        random(kills.length + 100 * run),
      );
      if (kill) kills.push(kill);
      else expect(await outcome(options, `${engine}-${workers}-killed-${run++}`)).toEqual(whole);
    }
    await complete(options, `${engine}-${workers}-killed-${run}`);
    expect(await outcome(options, `${engine}-${workers}-killed-${run}`)).toEqual(whole);
    console.log(describe(engine, workers, kills, run + 1));
    for (const moment of MOMENTS) expect(kills.some((kill) => kill.moment === moment)).toBe(true);
    expect(kills.some(({ duringWrite }) => duringWrite)).toBe(true);
  },
);

/** 0..1 by position: a multiplicative hash of the seed. */
function random(position: number): number {
  return (Math.imul(SEED + position + 1, 0x9e3779b1) >>> 0) / 2 ** 32;
}

function describe(engine: string, workers: number, kills: readonly Kill[], runs: number): string {
  const counts = MOMENTS.map(
    (moment) => `${kills.filter((kill) => kill.moment === moment).length} ${moment}`,
  );
  const writes = kills.filter(({ duringWrite }) => duringWrite).length;
  const epochs = kills.map(({ epoch }) => epoch).join(' ');
  return `${engine}, ${workers} workers, seed ${SEED}: ${kills.length} kills in ${runs} runs (${counts.join(', ')}; ${writes} with a part of a checkpoint on the disk); complete epochs at the kills: ${epochs}; all runs byte-identical`;
}
