// The weights that a run's folder holds, as the commands that read a run find them.

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import type { ModelState } from '../models/state-dict.ts';
import { CheckpointError, readCheckpoint, type TrainedOn } from '../training/checkpoint.ts';
import { BEST, LAST } from '../training/checkpoints.ts';
import { meanStatistics, placeOf, type RunPlace } from '../training/run-state.ts';
import { formatNumberOf } from './format.ts';

/** `statistics`: the mean over the workers. */
export interface RunWeights extends ModelState, RunPlace {
  /** Whether they are the last or those of the best validation epoch. */
  readonly which: 'last' | 'best';
  readonly config: Config;
  readonly trainedOn: TrainedOn;
}

const FILES: Record<RunWeights['which'], string> = { last: LAST, best: BEST };

/** @throws UsageError where the folder holds no run, or not these weights. */
export async function readRun(run: string, which: RunWeights['which'] = 'last'): Promise<RunWeights> {
  const [configFile, checkpointFile] = ['config.yaml', FILES[which]].map((name) => join(run, name));
  if (!existsSync(configFile)) {
    const isFile = existsSync(run) && !statSync(run).isDirectory();
    const found = isFile ? 'a file' : existsSync(run) ? 'no config.yaml in it' : 'nothing';
    throw new UsageError(`${run}: expected the folder of a run, found ${found}`);
  }
  const config = loadConfig(configFile);
  if (which === 'best' && config.validation === 0) {
    throw new UsageError(
      `--best: expected a run that chooses its best epoch on validation images, but ${run} has validation: 0 in its config.yaml; leave it out`,
    );
  }
  if (!existsSync(checkpointFile)) {
    throw new UsageError(
      `${run}: expected a complete or stopped run, found no ${FILES[which]} in it; let it train first`,
    );
  }
  return { which, config, ...(await readWeights(checkpointFile)) };
}

async function readWeights(file: string): Promise<Omit<RunWeights, 'which' | 'config'>> {
  try {
    const { trainedOn, progress, vectors } = await readCheckpoint(file);
    const { weights } = vectors;
    const statistics = meanStatistics(vectors);
    return { weights, statistics, trainedOn, ...placeOf(progress) };
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new UsageError(`${file}: ${error.message}`);
  }
}

/** @throws UsageError where the vectors are not those of the graph. */
export function checkLengths(run: string, graph: Graph, { weights, statistics }: ModelState): void {
  if (weights.length === graph.parameterLength && statistics.length === graph.statisticsLength) return;
  throw new UsageError(
    `${run}: expected a checkpoint of ${graph.name} as its config.yaml says, got ${weights.length} weights in place of ${graph.parameterLength}; has config.yaml been changed?`,
  );
}

/** `2 epochs and 3 steps`, `1 epoch (best on validation)`. */
export function describeProgress({
  which,
  epoch,
  step,
}: Pick<RunWeights, 'which' | 'epoch' | 'step'>): string {
  const steps = step > 0 ? ` and ${formatNumberOf(step, 'step')}` : '';
  return `${formatNumberOf(epoch, 'epoch')}${steps}${which === 'best' ? ' (best on validation)' : ''}`;
}
