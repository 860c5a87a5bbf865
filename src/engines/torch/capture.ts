// When a step is recorded as a CUDA graph, and when the record is replayed. Knows nothing of GPUs.

/** Steps of one form that run as they are: in them cuDNN tries out its algorithms, which no graph may record. */
const WARM_UP_STEPS = 2;

/** With more forms than that, later ones are not recorded: a run has two, for full batches and for the last one. */
const MOST_GRAPHS = 8;

/**
 * By form, which is what a graph depends on: the sizes of the passes. `auto`: where a recording fails, steps run as they
 * are from then on; `on`: that is an error; `off`: nothing is recorded.
 */
export class CapturePolicy {
  readonly #setting: 'auto' | 'on' | 'off';
  /** Steps that ran, by form, up to the one that was, or should have been, recorded. */
  readonly #steps = new Map<string, number>();
  readonly #graphs = new Set<string>();
  #failure: string | undefined;

  constructor(setting: 'auto' | 'on' | 'off') {
    this.#setting = setting;
  }

  /** Why nothing is recorded any more, though it should be. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * How a step of this form runs. Where its time has come, it is recorded first, by `record`, which does not run it and
   * throws where that fails: it is then run as it is.
   * @param recorded called behind that, at the same steps whether or not recording succeeds.
   */
  modeOf(form: string, record: () => void, recorded = () => {}): 'eager' | 'replay' {
    const steps = this.#steps.get(form) ?? 0;
    if (this.#setting !== 'off' && steps <= WARM_UP_STEPS) {
      this.#steps.set(form, steps + 1);
      if (steps === WARM_UP_STEPS && this.#steps.size <= MOST_GRAPHS) {
        this.#record(form, record);
        recorded();
      }
    }
    return this.#graphs.has(form) ? 'replay' : 'eager';
  }

  /** What was recorded is of no use any more. */
  forget(): void {
    this.#steps.clear();
    this.#graphs.clear();
  }

  #record(form: string, record: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      record();
      this.#graphs.add(form);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#setting === 'on') {
        throw new Error(`cudaGraph: on, but a step could not be recorded as a CUDA graph: ${reason}`, {
          cause: error,
        });
      }
      this.#failure = reason.split('\n')[0];
    }
  }
}
