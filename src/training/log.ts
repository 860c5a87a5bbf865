// log.jsonl: what happened in a run and when, a line of JSON each, for programs that watch runs. Holds times: never
// the same twice.

import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import type { Selection } from '../amplification/selection.ts';
import type { Seeds } from '../config/seeds.ts';
import type { EpochMetrics, EpochTimings, RunSummary } from './metrics.ts';

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

/** Every line has `time` (ISO 8601, UTC), `level` and `event`; the rest is the event's own. */
export class RunLog {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  start({ config, ...fields }: RunStart): void {
    this.#write('info', 'start', {
      configHash: `sha256:${createHash('sha256').update(config).digest('hex')}`,
      ...fields,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      pid: process.pid,
    });
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
    appendFileSync(this.#file, `${JSON.stringify(line)}\n`);
  }
}
