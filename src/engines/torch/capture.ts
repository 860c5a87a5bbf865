// When a step is recorded as a CUDA graph, and when the record is replayed. Knows nothing of GPUs.

import type { StepMode } from './addon.ts';

/** Steps of one form that run as they are: in them cuDNN tries out its algorithms, which no graph may record. */
const WARM_UP_STEPS = 2;

/** Forms that are recorded at most: each takes memory, and a run has two, for full batches and for the last one. */
const MOST_GRAPHS = 8;

/**
 * By form, which is what a graph depends on: the sizes of the passes. `auto`: where a recording fails, steps run as they
 * are from then on; `on`: that is an error; `off`: nothing is recorded.
 */
export class CapturePolicy {
  readonly #setting: 'auto' | 'on' | 'off';
  /** Steps that ran, by form; infinite where its graph is there. */
  readonly #steps = new Map<string, number>();
  #failure: string | undefined;

  constructor(setting: 'auto' | 'on' | 'off') {
    this.#setting = setting;
  }

  /** Why nothing is recorded any more, though it should be. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * Runs a step: `run` is called with its mode. To record a step does not run it: it is then replayed, or run as it is
   * where recording failed.
   * @param recorded called between the two: others may have to record first, too.
   */
  step<T>(form: string, run: (mode: StepMode) => T, recorded = () => {}): T {
    const mode = this.#next(form);
    if (mode !== 'capture') return run(mode);
    try {
      run(mode);
      this.#steps.set(form, Number.POSITIVE_INFINITY);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#setting === 'on') {
        throw new Error(`cudaGraph: on, but a step could not be recorded as a CUDA graph: ${reason}`, {
          cause: error,
        });
      }
      this.#failure = reason.split('\n')[0];
    }
    recorded();
    return run(this.#failure === undefined ? 'replay' : 'eager');
  }

  /** What was recorded is of no use any more. */
  forget(): void {
    this.#steps.clear();
  }

  #next(form: string): StepMode {
    const steps = this.#steps.get(form) ?? 0;
    if (steps === Number.POSITIVE_INFINITY) return 'replay';
    if (this.#setting === 'off' || this.#failure !== undefined) return 'eager';
    if (steps >= WARM_UP_STEPS && this.#recorded() < MOST_GRAPHS) return 'capture';
    this.#steps.set(form, steps + 1);
    return 'eager';
  }

  #recorded(): number {
    return [...this.#steps.values()].filter((steps) => steps === Number.POSITIVE_INFINITY).length;
  }
}
