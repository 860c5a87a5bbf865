// `dumpGradients`: the reduced gradients of some steps, as files. They are there to be looked at: no run ends for want of
// space for them.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/schema.ts';
import { isDiskFull } from '../training/durable.ts';

interface GradientSource {
  readonly rank: number;
  /** The run's folder. */
  readonly directory?: string;
  /** Vectors whose sum is the reduced gradient; undefined where the step was skipped. */
  readonly gradients: () => readonly Float32Array[] | undefined;
}

/**
 * Rank 0 writes the reduced gradient of a step as raw float32, where the config names the step and it was not skipped.
 * @param optimizerStep counted from 1 over the run.
 */
export function recordGradient(
  { dumpGradients }: Pick<Config, 'dumpGradients'>,
  optimizerStep: number,
  { rank, directory, gradients }: GradientSource,
): void {
  if (rank !== 0 || !dumpGradients || !directory) return;
  const [first, last] = dumpGradients;
  if (optimizerStep < first || optimizerStep > last) return;
  const parts = gradients();
  if (!parts) return;
  const [own, ...others] = parts;
  const reduced = Float64Array.from(own);
  for (const gradient of others) {
    for (let i = 0; i < reduced.length; i++) reduced[i] += gradient[i];
  }
  const file = join(directory, 'gradients', `step-${String(optimizerStep).padStart(6, '0')}.f32`);
  try {
    mkdirSync(join(directory, 'gradients'), { recursive: true });
    writeFileSync(file, Float32Array.from(reduced));
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    if (!refusals.has(directory)) refusals.set(directory, describeRefusal(file, error));
    removePart(file);
  }
}

/** Of this thread's runs, by folder: about the first file that could not be written. */
const refusals = new Map<string, string>();

/** What is told of a run, some of whose gradients could not be recorded. */
export const recordingWarning = (directory = ''): string | undefined => refusals.get(directory);

export const describeRefusal = (file: string, error: unknown): string =>
  `dumpGradients: ${file} could not be written (${(error as Error).message}); training goes on, and what cannot be recorded is left out`;

function removePart(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // Where it cannot be removed either, its size tells.
  }
}
