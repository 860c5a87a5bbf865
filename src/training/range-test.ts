// The learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3): train
// with a rate that grows geometrically and watch the loss. Arithmetic only; src/parallel/lr-finder.ts trains.

export interface RangeTestOptions {
  /** The first and the last learning rate. */
  readonly from: number;
  readonly to: number;
  /** Optimizer steps between them, both ends included; at least 2. */
  readonly steps: number;
}

export interface RangePoint {
  /** From 1. */
  readonly step: number;
  /** Of the update that followed the loss. */
  readonly learningRate: number;
  /** Mean cross-entropy of the step's samples, in nats. */
  readonly loss: number;
  /** Rate and loss as means over the steps before, the same weights for both, the rate's geometric. */
  readonly smoothedRate: number;
  readonly smoothedLoss: number;
}

/** Learning rates that a curve speaks for. */
export interface RateSuggestions {
  /** Where the smoothed loss falls fastest per factor of the rate. */
  readonly steepest: number;
  /** Where the smoothed loss is lowest. */
  readonly minimum: number;
  readonly tenthOfMinimum: number;
}

/** The test ends early when the smoothed loss is above so many times its best, as fastai's and PyTorch Lightning's do. */
export const DIVERGED = 4;
/** The time constant of the smoothing, as a share of the test: its result does not depend on the number of steps. */
const WINDOW = 0.1;

/** The rate of a step, from 1. */
export function rateOfStep({ from, to, steps }: RangeTestOptions, step: number): number {
  return step === steps ? to : from * (to / from) ** ((step - 1) / (steps - 1));
}

/**
 * The exponential mean of what has come so far, its start corrected as Adam's moments are.
 * @param window its time constant, in values; at least 1, which smooths nothing.
 */
export function exponentialMean(window: number): (value: number) => number {
  const kept = 1 - 1 / window;
  let [sum, weight] = [0, 0];
  return (value) => {
    sum = kept * sum + value;
    weight = kept * weight + 1;
    return sum / weight;
  };
}

/** A test that is under way: what it measured, and whether it is at its end. */
export class RangeTest {
  readonly points: RangePoint[] = [];
  readonly #options: RangeTestOptions;
  readonly #meanLoss: (loss: number) => number;
  /** A mean of past losses lags; the mean of their rates, with the same weights, lags as much. */
  readonly #meanLogRate: (logRate: number) => number;
  #best = Number.POSITIVE_INFINITY;
  #diverged = false;

  constructor(options: RangeTestOptions) {
    this.#options = options;
    const window = windowOf(options);
    this.#meanLoss = exponentialMean(window);
    this.#meanLogRate = exponentialMean(window);
  }

  /** The smoothed loss left its range, or a loss was not finite. */
  get diverged(): boolean {
    return this.#diverged;
  }

  get complete(): boolean {
    return this.points.length === this.#options.steps;
  }

  /** Of the next step. */
  get learningRate(): number {
    return rateOfStep(this.#options, this.points.length + 1);
  }

  /** What the next step measured; NaN where its gradient was not finite. Such a step makes no point. */
  record(loss: number): void {
    if (!Number.isFinite(loss)) {
      this.#diverged = true;
      return;
    }
    const { learningRate } = this;
    const smoothedRate = Math.exp(this.#meanLogRate(Math.log(learningRate)));
    const smoothedLoss = this.#meanLoss(loss);
    this.points.push({ step: this.points.length + 1, learningRate, loss, smoothedRate, smoothedLoss });
    this.#best = Math.min(this.#best, smoothedLoss);
    this.#diverged = smoothedLoss > DIVERGED * this.#best;
  }

  get suggestions(): RateSuggestions | null {
    // Before the window is full, the mean is mostly the noise of single steps.
    return suggest(this.points.slice(Math.floor(windowOf(this.#options))));
  }
}

const windowOf = ({ steps }: RangeTestOptions) => Math.max(1, WINDOW * steps);

/** What a smoothed curve speaks for; null where its loss is nowhere below its first. */
export function suggest(
  curve: readonly Pick<RangePoint, 'smoothedRate' | 'smoothedLoss'>[],
): RateSuggestions | null {
  const losses = curve.map(({ smoothedLoss }) => smoothedLoss);
  const lowest = losses.indexOf(Math.min(...losses));
  if (lowest <= 0) return null;
  // What falls behind the minimum falls back from a rise.
  const slopes = Array.from({ length: lowest }, (_, index) => slopeAt(curve, index));
  const { smoothedRate: minimum } = curve[lowest];
  const { smoothedRate: steepest } = curve[slopes.indexOf(Math.min(...slopes))];
  return { steepest, minimum, tenthOfMinimum: minimum / 10 };
}

/** Of the loss over the log of the rate, by the neighbours of a point that is not the last. */
function slopeAt(curve: readonly Pick<RangePoint, 'smoothedRate' | 'smoothedLoss'>[], index: number): number {
  const [before, behind] = [curve[Math.max(index - 1, 0)], curve[index + 1]];
  return (behind.smoothedLoss - before.smoothedLoss) / Math.log(behind.smoothedRate / before.smoothedRate);
}
