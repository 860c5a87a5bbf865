// log.jsonl: what happened in a run and when, a line of JSON each, for programs that watch runs. Holds times: never
// the same twice.

import type { Selection } from '../amplification/selection.ts';
import type { Seeds } from '../config/seeds.ts';
import type { AppendFile } from './append-file.ts';
import { hashConfig } from './checkpoint.ts';
import type { EpochMetrics, EpochTimings, RunSummary } from './metrics.ts';
import type { RunPlace } from './run-state.ts';

export type LogLevel = 'info' | 'warning' | 'error';

/** Where and with what a run was started. */
export interface RunStart {
  /** YAML of the resolved config. */
  readonly config: string;
  /** Of gradamp. */
  readonly version: string;
  /** The engine and backend that loaded, with versions. */
  readonly engine: string;
  readonly devices: readonly string[];
  /** What each seed is for. */
  readonly seeds: Seeds;
}

/** Where and from what a run goes on. */
export interface RunResumption extends RunPlace {
  /** The checkpoint; null where none could be used and the run starts anew. */
  readonly file: string | null;
  /** Checkpoints that are newer, but torn or of another kind. */
  readonly refused: readonly { readonly file: string; readonly reason: string }[];
  /** Keys of the config that have other values since. */
  readonly changes: readonly { readonly key: string; readonly from: unknown; readonly to: unknown }[];
  /** The engine and backend that loaded, with versions. */
  readonly engine: string;
  readonly devices: readonly string[];
  readonly workers: number;
}

/** A checkpoint that has been written. */
export interface WrittenCheckpoint extends RunPlace {
  readonly file: string;
  /** That writing it took. */
  readonly seconds: number;
  readonly bytes: number;
}

/** Every line has `time` (ISO 8601, UTC), `level` and `event`; the rest is the event's own. */
export class RunLog {
  readonly #file: AppendFile;

  constructor(file: AppendFile) {
    this.#file = file;
  }

  start({ config, ...fields }: RunStart): void {
    this.#write('info', 'start', {
      configHash: hashConfig(config),
      ...fields,
      ...here(),
    });
  }

  /** The lines before may tell of epochs that are trained again. A warning where more was lost than that. */
  resume({ epoch, step, file, refused, changes, engine, devices, workers }: RunResumption): void {
    const level = file === null || refused.length > 0 ? 'warning' : 'info';
    this.#write(level, 'resume', {
      ...{ epoch, step, file, refused, changes, engine, devices, workers },
      ...here(),
    });
  }

  checkpoint({ epoch, step, file, seconds, bytes }: WrittenCheckpoint): void {
    this.#write('info', 'checkpoint', { epoch, step, file, seconds, bytes });
  }

  /** Training goes on; the checkpoints before are as they were. */
  checkpointFailed({
    epoch,
    step,
    file,
    reason,
  }: Pick<WrittenCheckpoint, 'epoch' | 'step' | 'file'> & { readonly reason: string }): void {
    this.#write('warning', 'checkpoint-failed', { epoch, step, file, reason });
  }

  /** The first file of the run that could not be written, and what the system said. */
  diskFull(file: string, reason: string): void {
    this.#write('warning', 'disk-full', { file, reason });
  }

  /** What waited for space is written. */
  diskRecovered(): void {
    this.#write('info', 'disk-recovered', {});
  }

  /** Worth attention, but no reason to stop. */
  warning(message: string): void {
    this.#write('warning', 'warning', { message });
  }

  epoch(
    { epoch, phase, learningRate, analysed, amplified, reduced, ...metrics }: EpochMetrics,
    timings: EpochTimings,
  ): void {
    const { skippedSteps, ...losses } = metrics;
    const { seconds, imagesPerSecond } = timings;
    if (skippedSteps > 0) this.#write('warning', 'skipped-steps', { epoch, steps: skippedSteps });
    this.#write('info', 'epoch', {
      ...{ epoch, phase, learningRate, analysed },
      ...{ amplifiedLayers: amplified.length, reducedLayers: reduced.length },
      ...{ ...losses, seconds, imagesPerSecond },
    });
  }

  /** Without z-scores, or where no layer is chosen, the epochs until the next will be plain: a warning. */
  selection({ epoch, response, layers, degenerate }: Selection): void {
    const chosen = layers.filter((layer) => layer.chosen).map(({ name }) => name);
    const level = chosen.length === 0 ? 'warning' : 'info';
    this.#write(level, 'selection', {
      epoch,
      response,
      candidates: layers.length,
      chosen,
      ...(degenerate && { degenerate }),
    });
  }

  /** Asked to stop before the last epoch was complete. */
  stop(epoch: number, step: number): void {
    this.#write('warning', 'stop', { epoch, step });
  }

  end({ epochs, finalValidationAccuracy, finalTestAccuracy, best, seconds, stopped }: RunSummary): void {
    this.#write('info', 'end', {
      ...{ epochs, finalValidationAccuracy, finalTestAccuracy, best, seconds, stopped },
    });
  }

  error(error: unknown): void {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
    this.#write('error', 'error', { name, message, stack });
  }

  #write(level: LogLevel, event: string, fields: object): void {
    const line = { time: new Date().toISOString(), level, event, ...fields };
    this.#file.append(`${JSON.stringify(line)}\n`);
  }
}

const here = () => ({
  node: process.version,
  platform: `${process.platform}-${process.arch}`,
  pid: process.pid,
});
