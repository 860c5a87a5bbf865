// What the coordinator shows while its workers are busy: read from shared memory at intervals, never asked for.

import { lastEpoch } from '../amplification/phases.ts';
import type { Config } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import { stepCount } from '../data/sampling.ts';
import type { Progress, Reporter } from '../training/reporter.ts';
import type { Control } from './control.ts';
import { trainedImages } from './sizes.ts';

/** How often the shown progress is renewed, in milliseconds. */
const INTERVAL = 200;
/** A forward pass costs about a third of a training step. */
const EVALUATION_COST = 1 / 3;

export class ProgressMeter {
  readonly #control: Control;
  readonly #reporter: Reporter;
  readonly #epochs: number;
  readonly #trainSize: number;
  readonly #validationSize: number;
  readonly #testSize: number;
  readonly #steps: number;
  readonly #started = performance.now();
  /** Of the run, that was done before. */
  readonly #begun: number;

  /** @param begun epochs that are behind it, a part of one included. */
  constructor(config: Config, dataset: Dataset, control: Control, reporter: Reporter, begun = 0) {
    this.#control = control;
    this.#reporter = reporter;
    this.#epochs = lastEpoch(config.schedule);
    this.#trainSize = trainedImages(config, dataset);
    this.#validationSize = config.validation;
    this.#testSize = dataset.test.size;
    this.#steps = stepCount(this.#trainSize, config.batchSize * config.accumulate);
    this.#begun = begun / this.#epochs;
  }

  /**
   * Runs `work`, reporting meanwhile.
   * @param seen samples that the workers' sums hold already when it begins.
   */
  async during<T>(epoch: number, phase: Progress['phase'], work: () => Promise<T>, seen = 0): Promise<T> {
    this.#control.clearProgress();
    const began = { started: performance.now(), seen };
    const timer = setInterval(() => this.#reporter.update(this.#progress(epoch, phase, began)), INTERVAL);
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  }

  #progress(
    epoch: number,
    phase: Progress['phase'],
    { started, seen }: { readonly started: number; readonly seen: number },
  ): Progress {
    const { steps, samples, lossSum, correct } = this.#control.progress;
    const now = performance.now();
    const evaluating = phase === 'validation' || phase === 'evaluation';
    const evaluated = phase === 'evaluation' ? this.#validationSize + samples : samples;
    const evaluationCost = (this.#validationSize + this.#testSize) * EVALUATION_COST;
    const done = evaluating ? this.#trainSize + evaluated * EVALUATION_COST : samples;
    const fraction = (epoch - 1 + done / (this.#trainSize + evaluationCost)) / this.#epochs;
    const made = fraction - this.#begun;
    const elapsed = (now - this.#started) / 1000;
    // A device's samples lag behind its steps; and what is read of two workers' steps may mix.
    const mean = (sum: number) => (samples > 0 ? sum / samples : Number.NaN);
    return {
      epoch,
      epochs: this.#epochs,
      step: evaluating ? this.#steps : steps,
      steps: this.#steps,
      imagesPerSecond: (1000 * Math.max(0, samples - seen)) / (now - started),
      loss: mean(lossSum),
      accuracy: mean(correct),
      secondsLeft: made > 0 ? (elapsed / made) * (1 - fraction) : Number.POSITIVE_INFINITY,
      phase,
    };
  }
}
