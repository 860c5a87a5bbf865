// When a run has left the numbers that a float32 can hold, and ends.

import type { EpochSums } from './trainer.ts';

/** Training left the numbers that a float32 can hold: a fault of the settings, not of the machine. */
export class DivergedError extends Error {
  override readonly name = 'DivergedError';

  /** `where` in the run non-finite numbers came up. */
  constructor(where: string) {
    super(
      `training diverged: expected finite gradients and losses, got NaN or infinity in ${where}; lower the learning rate or the amplification factor`,
    );
  }
}

/**
 * Of a complete epoch: a few skipped steps are survived, but one that skips more than half of its steps is no training
 * of these data, whatever its accuracy.
 * @throws DivergedError
 */
export function checkEpoch(
  epoch: number,
  { iterations, skipped }: Pick<EpochSums, 'iterations' | 'skipped'>,
  losses: readonly (number | null)[],
): void {
  if (skipped > iterations) {
    throw new DivergedError(`${skipped} of the ${iterations + skipped} steps of epoch ${epoch}`);
  }
  if (losses.includes(null)) throw new DivergedError(`the evaluation after epoch ${epoch}`);
}
