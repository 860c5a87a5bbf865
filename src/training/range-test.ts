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
  /** Where the smoothed loss falls fastest over the log of the rate, before it is lowest. */
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
    const window = Math.floor(windowOf(this.#options));
    // Before the window is full, the mean is mostly the noise of single steps.
    return suggest(this.points.slice(window), window);
  }
}

const windowOf = ({ steps }: RangeTestOptions) => Math.max(1, WINDOW * steps);

/** A point of a smoothed curve. */
type SmoothedPoint = Pick<RangePoint, 'smoothedRate' | 'smoothedLoss'>;

/**
 * What a smoothed curve speaks for; null where its loss is nowhere below its first.
 * @param reach slopes are fitted to a point and so many neighbours on either side.
 */
export function suggest(curve: readonly SmoothedPoint[], reach: number): RateSuggestions | null {
  const losses = curve.map(({ smoothedLoss }) => smoothedLoss);
  const lowest = losses.indexOf(Math.min(...losses));
  if (lowest <= 0) return null;
  // What falls behind the minimum falls back from a rise.
  const falling = curve.slice(0, lowest + 1);
  const slopes = falling.map((_, index) =>
    slope(falling.slice(Math.max(index - reach, 0), index + reach + 1)),
  );
  const { smoothedRate: minimum } = curve[lowest];
  const { smoothedRate: steepest } = curve[slopes.indexOf(Math.min(...slopes))];
  return { steepest, minimum, tenthOfMinimum: minimum / 10 };
}

/** Of the least-squares line through the losses over the logs of the rates; at least two points. */
function slope(points: readonly SmoothedPoint[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const logs = points.map(({ smoothedRate }) => Math.log(smoothedRate));
  const losses = points.map(({ smoothedLoss }) => smoothedLoss);
  const [meanLog, meanLoss] = [mean(logs), mean(losses)];
  const products = logs.map((log, index) => (log - meanLog) * (losses[index] - meanLoss));
  return mean(products) / mean(logs.map((log) => (log - meanLog) ** 2));
}
