// Whether a run may go on from a state with the config it is given, and from where.

import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { lastEpoch } from '../amplification/phases.ts';
import { type ConfigChange, configChanges, definingChanges } from '../config/changes.ts';
import { parseConfig } from '../config/load.ts';
import { oneLine, show } from '../config/messages.ts';
import type { Config } from '../config/schema.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { CheckpointError, type TrainedOn } from '../training/checkpoint.ts';
import { type FoundCheckpoint, newestCheckpoint, type RestoredCheckpoint } from '../training/checkpoints.ts';
import type { RunResumption } from '../training/log.ts';
import { placeOf, type RunPlace, type RunProgress, type RunState } from '../training/run-state.ts';
import { planOf } from './outline.ts';

/** A state of another run, in memory; see `fork`. */
export interface Fork {
  /** What that run was trained with; the choices may differ. */
  readonly config: Config;
  readonly state: RunState;
}

/** What a run goes on from. */
interface Origin extends Fork {
  /** As errors name it. */
  readonly source: string;
  /** Of a fork, the same process's. */
  readonly trainedOn?: TrainedOn;
  readonly found?: FoundCheckpoint;
}

/** Of what was gone on from, all but the vectors. */
export interface Resumption {
  readonly progress: RunProgress;
  /** Of a run that goes on in its folder. */
  readonly restored?: RestoredCheckpoint;
  /** For the log. */
  readonly entry: Omit<RunResumption, 'engine' | 'devices' | 'workers'>;
}

/**
 * What `from` names; undefined where a run starts from nothing.
 * @throws UsageError where the folder holds checkpoints, and none of them can be read.
 */
export async function findOrigin(
  from: 'folder' | Fork | undefined,
  directory: string,
): Promise<Origin | undefined> {
  if (from === undefined) return undefined;
  if (from !== 'folder') return { source: 'fork', ...from };
  const found = await newestCheckpoint(directory).catch((error) => {
    if (!(error instanceof CheckpointError)) throw error;
    throw new UsageError(`${directory}: ${error.message}; start the run anew in another folder`);
  });
  if (!found) return undefined;
  const { config, trainedOn, progress, vectors } = found.checkpoint;
  const source = join(directory, found.file);
  return { source, found, trainedOn, config: parseConfig(config, source), state: { progress, vectors } };
}

/** @throws UsageError, one line, where the config, the images or the model are another run's. */
export function resumeFrom(
  origin: Origin,
  after: Config,
  { graph, trainedOn: images }: { readonly graph: Graph; readonly trainedOn: TrainedOn },
): Resumption {
  const { source, trainedOn, state, found } = origin;
  const { refused = [] } = found ?? {};
  const entry = { ...checkOrigin(origin, after), refused };
  if (trainedOn && !isDeepStrictEqual(trainedOn, images)) {
    throw new UsageError(
      `${source}: expected the images that the run was trained on, got another training split in ${after.dataDir}; set dataDir to theirs`,
    );
  }
  const { weights, velocity, statistics } = state.vectors;
  const fits =
    weights.length === graph.parameterLength &&
    velocity.length === graph.parameterLength &&
    statistics.every(({ length }) => length === graph.statisticsLength);
  if (!fits) {
    throw new UsageError(
      `${source}: expected ${graph.parameterLength} weights of ${graph.name}, got ${weights.length}; was the model changed since?`,
    );
  }
  const { progress } = state;
  return { progress, entry, ...(found && { restored: { progress, file: found.file, refused } }) };
}

/**
 * Where a run with this config goes on, and what is another since.
 * @throws UsageError, one line, where the config is another run's.
 */
export function checkOrigin({ source, config: before, state, found }: Origin, after: Config) {
  const epochs = begunEpochs(state.progress);
  const changes = checkSameRun(source, before, after, epochs);
  const last = lastEpoch(after.schedule);
  if (epochs > last) {
    throw new UsageError(`${source}: expected at most the ${last} epochs of its schedule, got ${epochs}`);
  }
  return { ...placeOf(state.progress), file: found?.file ?? source, changes };
}

/**
 * What has changed between the config of a run and the one that it is to go on with.
 * @param epochs that have begun.
 * @throws UsageError, one line, where that makes another run.
 */
export function checkSameRun(
  source: string,
  before: Config,
  after: Config,
  epochs: number,
): readonly ConfigChange[] {
  const changes = configChanges(before, after);
  const refused = [
    ...definingChanges(changes),
    ...changes.filter(({ key }) => key === 'schedule' && !sameEpochs(before, after, epochs)),
  ];
  if (refused.length > 0) throw new UsageError(describeRefusal(source, refused));
  return changes;
}

/** Of a run whose folder held no checkpoint yet. */
const FROM_NOTHING = { epoch: 0, step: 0, file: null, refused: [], changes: [] };

/** For the log, and for whoever watches. */
export function describeResumption(
  resumption: Resumption | undefined,
  engine: string,
): { readonly entry: Resumption['entry']; readonly lines: readonly string[] } {
  if (!resumption) return { entry: FROM_NOTHING, lines: ['starts anew: the folder holds no checkpoint yet'] };
  const { progress } = resumption;
  const changes =
    progress.engine === engine || progress.engine === ''
      ? resumption.entry.changes
      : [...resumption.entry.changes, { key: 'what computes', from: progress.engine, to: engine }];
  const entry = { ...resumption.entry, changes };
  const lines = [
    ...entry.refused.map(
      ({ file, reason }) => `warning: ${file} cannot be used (${reason}); an older one takes its place`,
    ),
    `goes on after ${describePlace(entry)} (${entry.file})`,
    ...changes.map(({ key, from, to }) => oneLine(`changed: ${key} ${show(to)} in place of ${show(from)}`)),
  ];
  return { entry, lines };
}

/** Behind so many complete epochs, and steps of the next. */
export const describePlace = ({ epoch, step }: RunPlace): string =>
  step > 0 ? `epoch ${epoch + 1}, step ${step}` : `epoch ${epoch}`;

/** Complete ones, and the one that is under way. */
const begunEpochs = ({ history, step }: RunProgress) => history.length + (step > 0 ? 1 : 0);

/** Whether the epochs that have begun are what they were; a curve over the run depends on its last epoch, too. */
function sameEpochs(before: Config, after: Config, epochs: number): boolean {
  if (epochs === 0) return true;
  if (before.learningRate !== 'phases' || epochs > after.schedule[after.schedule.length - 1].endEpoch)
    return false;
  return Array.from({ length: epochs }, (_, index) => index + 1).every((epoch) =>
    isDeepStrictEqual(planOf(before, epoch), planOf(after, epoch)),
  );
}

function describeRefusal(source: string, refused: readonly ConfigChange[]): string {
  const differences = refused
    .slice(0, 3)
    .map(({ key, from, to }) => `${key} ${show(to)} in place of ${show(from)}`);
  const more = refused.length > 3 ? ` and ${refused.length - 3} more` : '';
  return oneLine(
    `${source}: expected the config that the run was started with, got ${differences.join(', ')}${more}; ` +
      'epochs to come, devices, engine and what is kept of a run may change, for anything else start a new one with --out',
  );
}
