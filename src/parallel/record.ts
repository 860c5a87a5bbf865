// `dumpGradients`: the reduced gradients of some steps, as files.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config/schema.ts';

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
  mkdirSync(join(directory, 'gradients'), { recursive: true });
  const file = `step-${String(optimizerStep).padStart(6, '0')}.f32`;
  writeFileSync(join(directory, 'gradients', file), Float32Array.from(reduced));
}
