// When a run has left the numbers that a float32 can hold, and ends.

import type { StepTotals } from '../engines/engine.ts';

/** Where a step was not finite. */
export interface NonFinite {
  readonly epoch: number;
  /** Of the epoch, from 1. */
  readonly step: number;
  /** What of it, as `firstNonFinite` names it. */
  readonly where: string;
}

type Steps = Pick<StepTotals, 'iterations' | 'skipped'> & { readonly nonFinite?: NonFinite };

/** Training left the numbers that a float32 can hold: a fault of the settings, not of the machine. */
export class DivergedError extends Error {
  override readonly name = 'DivergedError';

  /** `where` in the run non-finite numbers came up, and what there was known to be one of them. */
  constructor(where: string, nonFinite?: NonFinite) {
    const first = nonFinite
      ? `: ${nonFinite.where} at step ${nonFinite.step} of epoch ${nonFinite.epoch}`
      : '';
    super(
      `training diverged: expected finite gradients and losses, got NaN or infinity in ${where}${first}; lower the learning rate or the amplification factor`,
    );
  }
}

/**
 * Of an epoch that ended for `skipLimit` skipped steps in a row.
 * @param workers by rank: the first that knows says where.
 */
export function skippedTooMany(skipLimit: number, epoch: number, workers: readonly Steps[]): DivergedError {
  const [{ iterations, skipped }] = workers;
  return new DivergedError(
    `${skipLimit} steps in a row (skipLimit), up to step ${iterations + skipped} of epoch ${epoch}`,
    workers.find(({ nonFinite }) => nonFinite)?.nonFinite,
  );
}

/**
 * Of a complete epoch: a few skipped steps are survived, but one that skips more than half of its steps is no training
 * of these data, whatever its accuracy.
 * @throws DivergedError
 */
export function checkEpoch(
  epoch: number,
  { iterations, skipped, nonFinite }: Steps,
  losses: readonly (number | null)[],
): void {
  if (skipped > iterations) {
    throw new DivergedError(`${skipped} of the ${iterations + skipped} steps of epoch ${epoch}`, nonFinite);
  }
  if (losses.includes(null)) throw new DivergedError(`the evaluation after epoch ${epoch}`);
}
