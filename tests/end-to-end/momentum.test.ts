// The momentum buffer at the end of a phase, by a plain loop over a run's recorded gradients.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { synthesize } from '../../src/data/synthetic.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { testConfig } from '../parallel/fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-momentum-'));
const dataDir = join(folder, 'data');
beforeAll(() => synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, train: 40, test: 10 }));
afterAll(() => rmSync(folder, { recursive: true }));

const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };

/** Two steps an epoch, a phase an epoch. */
async function run(name: string, epochs: number, resetMomentum: boolean) {
  const config = testConfig({
    ...{ dataDir, batchSize: 20, momentum: 0.9, weightDecay: 0, resetMomentum, amplification: 'none' },
    schedule: Array.from({ length: epochs }, (_, index) => [index + 1, 0.05, false, 1]),
    dumpGradients: [1, 4],
  });
  const directory = join(folder, name);
  await train(config, { directory, reporter: silent });
  const { velocity } = (await readCheckpoint(join(directory, 'checkpoint.msgpack'))).vectors;
  const gradient = (step: number) => {
    const bytes = readFileSync(join(directory, `gradients/step-00000${step}.f32`));
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };
  return { velocity, gradient };
}

it.each([
  ['goes on over the ends of phases', false],
  ['starts from 0 at each phase with resetMomentum', true],
])('momentum %s', async (_, resetMomentum) => {
  const before = await run(`before-${resetMomentum}`, 1, resetMomentum);
  const { velocity, gradient } = await run(`after-${resetMomentum}`, 2, resetMomentum);
  const [third, fourth] = [gradient(3), gradient(4)];
  const kept = resetMomentum ? 0 : 0.9 ** 2;
  const farthest = velocity.reduce((most, v, i) => {
    const expected = kept * before.velocity[i] + 0.9 * third[i] + fourth[i];
    return Math.max(most, Math.abs(v - expected));
  }, 0);
  expect(farthest).toBeLessThan(1e-5);
  // What the two differ by is no rounding.
  expect(Math.max(...before.velocity.map(Math.abs))).toBeGreaterThan(1e-2);
});
