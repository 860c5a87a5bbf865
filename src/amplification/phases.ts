// What each epoch does: its phase, whether it is measured, whether the chosen layers are acted upon in it.

import type { Phase } from '../config/schema.ts';

export interface EpochPlan {
  readonly epoch: number;
  /** Position in the schedule, from 1. */
  readonly phase: number;
  readonly learningRate: number;
  /** It is the phase's first. */
  readonly entersPhase: boolean;
  /** S and A are gathered, and layers are chosen at the end. */
  readonly analysed: boolean;
  /** The choice of the last analysis is on; where not, an earlier one ends before this epoch. */
  readonly acts: boolean;
  /** The phase's, for the layers that are chosen in it. */
  readonly factor: number;
}

export const lastEpoch = (schedule: readonly Phase[]): number => schedule[schedule.length - 1].endEpoch;

/**
 * The reference algorithm of `paper/method.md`. The first epoch of an amplifying phase is trained plainly and
 * measured. With `reselect` = K, a choice serves K epochs and the last of them is measured with it still on; the
 * phase's last epoch never is.
 *
 * @param epoch 1 to the schedule's last epoch.
 * @param reselect 'none' makes every phase a plain one.
 */
export function planEpoch(
  schedule: readonly Phase[],
  reselect: 'phase' | 'none' | number,
  epoch: number,
): EpochPlan {
  const index = schedule.findIndex(({ endEpoch }) => epoch <= endEpoch);
  const phase = schedule[index];
  if (!phase || epoch < 1) throw new Error(`expected an epoch of 1 to ${lastEpoch(schedule)}, got ${epoch}`);
  const start = index === 0 ? 1 : schedule[index - 1].endEpoch + 1;
  const amplify = phase.amplify && reselect !== 'none';
  const entersPhase = epoch === start;
  const entering = amplify && entersPhase;
  const again =
    amplify &&
    typeof reselect === 'number' &&
    epoch > start &&
    (epoch - start) % reselect === 0 &&
    epoch < phase.endEpoch;
  return {
    epoch,
    phase: index + 1,
    learningRate: phase.learningRate,
    entersPhase,
    analysed: entering || again,
    acts: amplify && !entering,
    factor: phase.factor,
  };
}
