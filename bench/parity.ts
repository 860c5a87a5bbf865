// `gradamp bench parity`: how far our gradients on a device are from PyTorch's in float64, in each precision, beside how
// far PyTorch's own are on the same device.

import type { Config, ModelName, Precision } from '../src/config/schema.ts';
import { UsageError } from '../src/errors.ts';
import {
  BATCH,
  errorsOf,
  type GradientErrors,
  gradientsOfBoth,
  isFine,
  largestError,
} from './gradient-check.ts';
import { measuredConfig } from './measured.ts';
import { findTorchPython, NO_TORCH, pythonCommand } from './python.ts';
import { CLASSES } from './synthetic-data.ts';

export interface ParityOptions {
  readonly models: readonly ModelName[];
  readonly precisions: readonly Precision[];
  readonly device: 'cpu' | 'cuda';
  readonly engine: Config['engine'];
  readonly python?: string;
}

export interface ParityRow {
  readonly model: ModelName;
  readonly width: number;
  readonly precision: Precision;
  /** Distances |g - reference| / |reference| from float64; see GradientErrors. */
  readonly ours: number;
  readonly theirs: number;
  readonly whole: GradientErrors['whole'];
  /** Of ours. */
  readonly limit: number;
  readonly fine: boolean;
}

export interface ParityResult {
  readonly device: string;
  readonly torch: string;
  /** Of which the gradients are. */
  readonly batch: number;
  readonly rows: readonly ParityRow[];
  readonly fine: boolean;
}

/**
 * @param report called after each model with a line of progress.
 * @throws UsageError where there is no Python with torch, or a CPU is asked for other precisions than float32.
 */
export async function benchParity(
  { models, precisions, device, engine, python: program }: ParityOptions,
  report: (line: string) => void,
): Promise<ParityResult> {
  const python = findTorchPython(program);
  if (!python) throw new UsageError(`parity: ${NO_TORCH}`);
  const reduced = precisions.find((precision) => precision !== 'float32');
  if (device === 'cpu' && reduced)
    throw new UsageError(`--precisions: expected float32 on a CPU, got ${reduced}`);
  const rows: ParityRow[] = [];
  for (const model of models) {
    const options = {
      model,
      width: 1,
      batch: 1,
      workers: 1,
      device,
      engine,
      backend: 'wasm',
      set: [],
    } as const;
    const config = measuredConfig(options);
    const theirs = (setup: Record<string, unknown>) =>
      pythonCommand(python, 'gradient', { ...setup, model, classes: CLASSES, device, threads: 1 });
    const { width, ours, other, lastLayer } = await gradientsOfBoth(config, 'torch', theirs, {
      ours: precisions,
      theirs: [...precisions, 'float64'],
    });
    for (const precision of precisions) {
      const errors = errorsOf(precision, ours, other, lastLayer);
      const [limit, fine] = [largestError(precision, errors), isFine(precision, errors)];
      rows.push({ model, width, precision, ...errors, limit, fine });
    }
    report(`${model}: ${rows.every(({ fine }) => fine) ? 'fine' : 'too far'}`);
  }
  return { device, torch: python.torch, batch: BATCH, rows, fine: rows.every(({ fine }) => fine) };
}
