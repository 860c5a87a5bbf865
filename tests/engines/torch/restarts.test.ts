// Replicas on libtorch come and go with their threads: started, stopped between two calls, ended in the middle of one.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { it } from './fixtures.ts';

const ROUNDS = 20;

it(`four workers are started and ended ${ROUNDS} times in one process, which keeps its memory and ends well`, () => {
  const script = fileURLToPath(new URL('./restarts.mjs', import.meta.url));
  const rounds: { rss: number; ended: string }[] = JSON.parse(
    execFileSync(process.execPath, [script, String(ROUNDS)], { encoding: 'utf8', timeout: 120_000 }),
  );
  expect(rounds.map(({ ended }) => ended)).toEqual(
    Array.from({ length: ROUNDS }, (_, i) => (i % 2 === 0 ? 'closed' : 'terminated')),
  );
  const mebibytes = rounds.map(({ rss }) => rss / 2 ** 20);
  const last = Math.min(...mebibytes.slice(-4));
  const settled = Math.max(...mebibytes.slice(4, 8));
  expect(last, `MiB by round: ${mebibytes.map(Math.round)}`).toBeLessThan(settled + 40);
}, 150_000);
