// One epoch of a run, as the coordinator orders it: train, choose where it is an analysis, evaluate, write; and the
// checkpoints in between.

import { addSums } from '../amplification/directionality.ts';
import { type EpochPlan, lastEpoch } from '../amplification/phases.ts';
import { type MeasuredLayer, type Selection, select } from '../amplification/selection.ts';
import { configDocument } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EvaluatedPart } from '../data/partition.ts';
import { NO_STEPS } from '../engines/engine.ts';
import { type Candidate, candidatesOf, type LayerFactors } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';
import { type CheckpointContent, type TrainedOn, writeCheckpoint } from '../training/checkpoint.ts';
import { BEST, type Checkpoints, LAST } from '../training/checkpoints.ts';
import { bestEpoch, type EpochMetrics } from '../training/metrics.ts';
import type { EpochPhase, Reporter } from '../training/reporter.ts';
import type { RunDirectory } from '../training/run-directory.ts';
import { placeOf, type RunProgress, type RunState } from '../training/run-state.ts';
import type { CheckpointTarget, CheckpointWriter } from './checkpoint-writer.ts';
import { checkEpoch, skippedTooMany } from './divergence.ts';
import { firstRateOf, phaseOf, planOf } from './outline.ts';
import type { ProgressMeter } from './progress-meter.ts';
import { stepsPerEpoch, trainedImages } from './sizes.ts';
import { redistribute, takeSnapshot } from './snapshot.ts';
import { averageStatistics, type ParameterStore } from './store.ts';
import type { EpochSums, Trainer } from './trainer.ts';
import type { WorkerGroup } from './worker-group.ts';

/** What does not change while a run lasts. */
export interface Run {
  readonly config: Config;
  readonly dataset: Dataset;
  readonly trainedOn: TrainedOn;
  readonly graph: Graph;
  readonly store: ParameterStore;
  readonly workers: WorkerGroup;
  readonly engine: Trainer['engine'];
  readonly files: RunDirectory;
  readonly checkpoints: Checkpoints;
  readonly writer: CheckpointWriter;
  readonly reporter: Reporter;
  readonly meter: ProgressMeter;
  readonly signal?: AbortSignal;
  /** By `performance.now()`. */
  readonly started: number;
  /** That earlier processes of the run took. */
  readonly secondsBefore: number;
  /** Told so far. */
  readonly warnings: Set<string>;
}

/** How far a run has come. */
export interface RunPosition {
  progress: RunProgress;
  /** When a checkpoint was last taken, by `performance.now()`. */
  savedAt: number;
}

/** Goes on with the epoch behind the complete ones, from the step where it stands. Nothing is written of one that is stopped. */
export async function trainEpoch(run: Run, position: RunPosition): Promise<void> {
  const { config, store, workers, files, reporter, meter, signal } = run;
  const epoch = position.progress.history.length + 1;
  const plan = planOf(config, epoch);
  const factors = plan.acts ? factorsOf(position.progress.selections.at(-1)) : new Map<string, number>();
  const phase = phaseOf(config, plan, factors.size > 0);

  const trained = await trainSteps(run, position, plan, { factors, phase });
  if (trained === undefined) return;
  averageStatistics(store);
  const { epochSeconds } = position.progress;
  const evaluationStarted = performance.now();

  const evaluate = (part: EvaluatedPart) =>
    meter.during(epoch, part === 'test' ? 'evaluation' : part, () =>
      workers.all((worker) => worker.evaluate(part)),
    );
  const validated = config.validation > 0 ? await evaluate('validation') : [];
  const tested = await evaluate('test');
  if (signal?.aborted) return;
  const [{ iterations, skipped }] = trained;
  const chosen = plan.analysed ? await choose(run, position.progress, plan, iterations) : undefined;

  const [trainLoss, trainAccuracy] = means(trained);
  const [validationLoss, validationAccuracy] = means(validated);
  const [testLoss, testAccuracy] = means(tested);
  const metrics: EpochMetrics = {
    epoch,
    phase: plan.phase,
    learningRate: firstRateOf(config, run.dataset, plan),
    analysed: plan.analysed,
    amplified: [...factors].flatMap(([name, factor]) => (factor > 1 ? [name] : [])),
    reduced: [...factors].flatMap(([name, factor]) => (factor < 1 ? [name] : [])),
    skippedSteps: skipped,
    trainLoss,
    trainAccuracy,
    validationLoss,
    validationAccuracy,
    testLoss,
    testAccuracy,
  };
  const timings = {
    epoch,
    seconds: epochSeconds + secondsSince(evaluationStarted),
    imagesPerSecond: trainedImages(config, run.dataset) / epochSeconds,
  };
  const { progress } = position;
  position.progress = {
    ...progress,
    history: [...progress.history, metrics],
    timings: [...progress.timings, timings],
    selections: chosen ? [...progress.selections, chosen.selection] : progress.selections,
    measured: chosen?.measured ?? progress.measured,
    step: 0,
    epochSeconds: 0,
    totals: trained.map(({ skippedInARow }) => ({ ...NO_STEPS, skippedInARow })),
  };
  if (chosen) {
    files.appendSelection(chosen.selection);
    reporter.selection(chosen.selection);
  }
  files.appendEpoch(metrics, timings);
  reporter.epochEnd({ ...metrics, epochs: lastEpoch(config.schedule), phase, ...timings });
  const losses = config.validation > 0 ? [validationLoss, testLoss] : [testLoss];
  checkEpoch(epoch, trained[0], losses);
  await saveEpoch(run, position);
}

/**
 * The steps of an epoch that are left, with pauses for checkpoints. The position moves along.
 * @returns sums of the whole epoch by rank; undefined where the run was stopped.
 */
async function trainSteps(
  run: Run,
  position: RunPosition,
  plan: EpochPlan,
  { factors, phase }: { readonly factors: LayerFactors; readonly phase: EpochPhase },
): Promise<readonly EpochSums[] | undefined> {
  const { config, dataset, workers, meter, signal } = run;
  const { epoch, learningRate, analysed } = plan;
  const end = stepsPerEpoch(config, dataset);
  for (;;) {
    const { step } = position.progress;
    const totals = redistribute(position.progress.totals, config.devices.length);
    const order = {
      ...{ epoch, learningRate, factors, analysed },
      steps: [step, end] as const,
      resetMomentum: step === 0 && plan.entersPhase && config.resetMomentum,
    };
    const started = performance.now();
    const seen = totals.reduce((sum, { samples }) => sum + samples, 0);
    const withdraw = pauseForCheckpoint(run, position);
    const trained = await meter.during(
      epoch,
      phase,
      () => workers.all((worker, rank) => worker.train({ ...order, totals: totals[rank] })).finally(withdraw),
      seen,
    );
    for (const { warning, unrecorded } of trained) {
      warnOnce(run, warning);
      warnOnce(run, unrecorded);
    }
    const { progress } = position;
    position.progress = {
      ...progress,
      step: trained[0].step,
      totals: trained.map(totalsOf),
      trainingSeconds: progress.trainingSeconds + secondsSince(started),
      epochSeconds: progress.epochSeconds + secondsSince(started),
    };
    if (trained[0].diverged) throw skippedTooMany(config.skipLimit, epoch, trained);
    if (signal?.aborted) return trained[0].step === end ? trained : undefined;
    if (!trained[0].paused) return trained;
    save(run, position, await snapshot(run, position));
  }
}

const totalsOf = ({ lossSum, correct, samples, iterations, skipped, skippedInARow }: EpochSums) => ({
  ...{ lossSum, correct, samples, iterations, skipped, skippedInARow },
});

/** Asks for a pause as soon as a checkpoint is due. Returns what takes that back. */
function pauseForCheckpoint({ config, workers: { control } }: Run, { savedAt }: RunPosition): () => void {
  const { everyMinutes } = config.checkpoint;
  if (everyMinutes === 'never') return () => {};
  const due = 60_000 * everyMinutes - (performance.now() - savedAt);
  const timer = setTimeout(() => control.requestPause(), due).unref();
  return () => {
    clearTimeout(timer);
    control.withdrawPause();
  };
}

/** A copy of all that the run is now. While no worker is in a step. */
export async function snapshot(run: Run, { progress }: RunPosition): Promise<RunState> {
  const { config, store, workers, engine, started, secondsBefore } = run;
  await workers.all((worker) => worker.publish());
  const epoch = progress.history.length + 1;
  const analysing = progress.step > 0 && planOf(config, epoch).analysed;
  const seconds = secondsBefore + secondsSince(started);
  return takeSnapshot(store, { ...progress, seconds, engine: engine.description }, analysing);
}

export const lastCheckpoint = (progress: RunProgress): CheckpointTarget => ({
  ...{ file: LAST, ...placeOf(progress) },
});

const contentOf = ({ config, trainedOn }: Run, state: RunState): CheckpointContent => ({
  ...{ config: configDocument(config), trainedOn, ...state },
});

/** Writes the newest checkpoint, behind the training's back. */
export function save(run: Run, position: RunPosition, state: RunState): void {
  const { checkpoints, writer, files } = run;
  position.savedAt = performance.now();
  const what = lastCheckpoint(state.progress);
  writer.submit(what, async () => {
    const started = performance.now();
    const { bytes } = await checkpoints.write(contentOf(run, state));
    files.log.checkpoint({ ...what, bytes, seconds: secondsSince(started) });
  });
}

/** The same of `best.msgpack`. */
export function saveBest(run: Run, state: RunState): void {
  const { files, writer } = run;
  writer.submit({ file: BEST, ...placeOf(state.progress) }, async () => {
    await writeCheckpoint(files.file(BEST), contentOf(run, state));
  });
}

/** Behind an epoch: the newest where one is due, and the best on validation, never by what the test images say. */
async function saveEpoch(run: Run, position: RunPosition): Promise<void> {
  const { config } = run;
  const { history } = position.progress;
  const due = history.length % config.checkpoint.everyEpochs === 0;
  const best = config.validation > 0 && bestEpoch(history, 'validation')?.epoch === history.length;
  if (!due && !best) return;
  const state = await snapshot(run, position);
  // In this order: a best epoch that no checkpoint tells of is trained again, and is the same.
  if (best) saveBest(run, state);
  if (due) save(run, position, state);
}

export function warnOnce({ files, reporter, warnings }: Run, warning?: string): void {
  if (warning === undefined || warnings.has(warning)) return;
  warnings.add(warning);
  files.log.warning(warning);
  reporter.message(`warning: ${warning}`);
}

/** Of the layers that a selection chose. */
const factorsOf = (selection?: Selection): LayerFactors =>
  new Map((selection?.layers ?? []).flatMap(({ name, factor }) => (factor === 1 ? [] : [[name, factor]])));

/** Ranks the candidates by what the workers' shards sum up to. */
async function choose(
  { config, graph, workers }: Run,
  { selections }: RunProgress,
  { epoch, factor }: EpochPlan,
  iterations: number,
): Promise<{ readonly measured: readonly MeasuredLayer[]; readonly selection: Selection }> {
  if (config.amplification === 'none')
    throw new Error('expected no analysis in a run that amplifies nothing');
  const measured = await measureCandidates(workers, candidatesOf(config, graph));
  const where = { epoch, iterations, factor, index: selections.length, seed: config.seeds.selection };
  return { measured, selection: select(config.amplification, measured, where) };
}

/** Sums of each candidate over the workers' shards, in rank order. */
export async function measureCandidates(
  workers: WorkerGroup,
  candidates: readonly Candidate[],
): Promise<readonly MeasuredLayer[]> {
  const shards = await workers.all((worker) => worker.measure());
  return candidates.map(({ name, kind }, index) => ({
    name,
    kind,
    sums: shards.map((shard) => shard[index]).reduce(addSums),
  }));
}

const secondsSince = (started: number) => (performance.now() - started) / 1000;

/** Mean loss and accuracy over the samples of all workers; null where there are none, or the loss is not finite. */
function means(parts: readonly { lossSum: number; correct: number; samples: number }[]) {
  const sum = (key: 'lossSum' | 'correct' | 'samples') => parts.reduce((total, part) => total + part[key], 0);
  const samples = sum('samples');
  const loss = sum('lossSum') / samples;
  return Number.isFinite(loss) ? [loss, sum('correct') / samples] : [null, null];
}
