// A training run from config to summary, on the main thread: opens or reopens its folder, starts its workers, and orders
// them epoch by epoch (epoch.ts). Never blocks, and is not in the step loop.

import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { lastEpoch } from '../amplification/phases.ts';
import type { Selection } from '../amplification/selection.ts';
import { configDocument } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { readCifar } from '../data/cifar.ts';
import { chooseEngine } from '../engines/index.ts';
import type { Graph } from '../models/graph.ts';
import { buildModel } from '../models/index.ts';
import { fromPackage } from '../package-root.ts';
import { readCheckpoint, type TrainedOn, trainedOn } from '../training/checkpoint.ts';
import { BEST, Checkpoints } from '../training/checkpoints.ts';
import { isDiskFull } from '../training/durable.ts';
import { bestEpoch, type RunSummary } from '../training/metrics.ts';
import type { Reporter } from '../training/reporter.ts';
import { RunDirectory } from '../training/run-directory.ts';
import { acquireRunLock, type RunLock } from '../training/run-lock.ts';
import { NO_PROGRESS, type RunProgress, type RunState } from '../training/run-state.ts';
import { normalisationWarning, readInitialWeights } from '../training/weights-file.ts';
import { type CheckpointFailure, CheckpointWriter } from './checkpoint-writer.ts';
import { createControlBuffers } from './control.ts';
import {
  lastCheckpoint,
  type Run,
  type RunPosition,
  save,
  saveBest,
  snapshot,
  trainEpoch,
  warnOnce,
} from './epoch.ts';
import { linesOf, outline } from './outline.ts';
import { ProgressMeter } from './progress-meter.ts';
import { describeRefusal } from './record.ts';
import { describeResumption, type Fork, findOrigin, type Resumption, resumeFrom } from './resumption.ts';
import { checkSizes, samplesOfSteps, stepsPerEpoch, trainedImages } from './sizes.ts';
import { fillStore } from './snapshot.ts';
import { createStore, type ParameterStore } from './store.ts';
import { WorkerGroup } from './worker-group.ts';

export interface TrainOptions {
  /** The run's folder: new or empty, or of the run that is gone on with. Its last part is the run's name. */
  readonly directory: string;
  readonly reporter: Reporter;
  /** Aborted by Ctrl-C: the run stops after the step it is in and keeps what it has. */
  readonly signal?: AbortSignal;
  /**
   * `folder`: goes on from the newest whole checkpoint in the folder, and where none was written yet from the start. A
   * fork goes on in a folder of its own, from memory.
   */
  readonly from?: 'folder' | Fork;
  /** The last epoch to train; the schedule's if absent. */
  readonly until?: number;
}

/** What a run leaves: its summary, every choice of layers that it made, and the state that it ended in. */
export interface TrainResult {
  readonly summary: RunSummary;
  readonly selections: readonly Selection[];
  readonly state: RunState;
}

/**
 * Trains as `config` says and writes the run's folder.
 * @throws UsageError before anything is written, AbortError where it is to stop while it waits for the folder; WorkerError and DivergedError behind that, with the files as far as
 * the run came.
 */
export async function train(config: Config, options: TrainOptions): Promise<TrainResult> {
  const { directory, signal, from } = options;
  const started = performance.now();
  const choice = chooseEngine(config);
  const waiting = { signal, notice: (text: string) => options.reporter.message(text) };
  // Nobody else may write there while it is read.
  let lock: RunLock | undefined;
  let workers: WorkerGroup | undefined;
  const stop = () => workers?.control.requestStop();
  signal?.addEventListener('abort', stop);
  try {
    if (from === 'folder') lock = await acquireRunLock(directory, waiting);
    else RunDirectory.check(directory);
    const dataset = await readCifar(config.dataset, config.dataDir);
    const graph = buildModel({ ...config.model, classes: dataset.classes });
    checkSizes(config, choice.engine, dataset, graph, { checkpoints: true });
    const images = trainedOn(dataset);
    const { store, resumption, warning } = await openStore(config, options, { graph, trainedOn: images });
    const filled = resumption !== undefined || config.init !== undefined;

    const control = createControlBuffers(config.devices.length);
    const settings = { ...config, engine: choice.engine };
    workers = new WorkerGroup(
      config.devices.map((_, rank) => ({
        ...{ rank, config: settings, dataset, store, control, directory, filled },
      })),
    );
    if (signal?.aborted) stop();
    const [engine] = await workers.all((worker) => worker.start());

    lock ??= await acquireRunLock(directory, waiting);
    const progress = resumption?.progress ?? NO_PROGRESS;
    const files = await openFolder(config, options, progress);
    const begun = progress.history.length + progress.step / stepsPerEpoch(config, dataset);
    const run: Run = {
      ...{ config, dataset, trainedOn: images, graph, store, workers, engine, files, signal, started },
      reporter: options.reporter,
      checkpoints: new Checkpoints(directory, config.checkpoint.keep, resumption?.restored),
      writer: new CheckpointWriter((failure) => tellFailure(files, options.reporter, failure)),
      meter: new ProgressMeter(config, dataset, workers.control, options.reporter, begun),
      secondsBefore: progress.seconds,
      warnings: new Set(),
    };
    announce(run, from, resumption, [...choice.warnings, ...(warning ? [warning] : [])]);
    const position = { progress, savedAt: performance.now() };
    if (from !== undefined) await restoreBest(run, position);
    return await trainRun(run, position, options.until);
  } finally {
    signal?.removeEventListener('abort', stop);
    await workers?.close();
    lock?.release();
  }
}

/** The epochs that are left. */
async function trainRun(run: Run, position: RunPosition, until?: number): Promise<TrainResult> {
  const { config, files, signal, writer } = run;
  const last = until ?? lastEpoch(config.schedule);
  try {
    while (position.progress.history.length < last && !signal?.aborted) await trainEpoch(run, position);
    const state = await snapshot(run, position);
    await writer.idle();
    if (!writer.holds(lastCheckpoint(state.progress))) save(run, position, state);
    await writer.settled();
    const summary = summarise(run, state);
    await files.writeSummary(summary);
    return { summary, selections: state.progress.selections, state };
  } catch (error) {
    // What is being written is to be whole.
    await writer.idle();
    files.log.error(error);
    throw error;
  }
}

/**
 * Holds what the run goes on from, or the weights of a file; where there is neither, the workers will draw them.
 * @throws UsageError where these do not fit the config.
 */
async function openStore(
  config: Config,
  { from, directory }: TrainOptions,
  subject: { readonly graph: Graph; readonly trainedOn: TrainedOn },
): Promise<{ readonly store: ParameterStore; readonly resumption?: Resumption; readonly warning?: string }> {
  const store = createStore(subject.graph, config);
  const origin = await findOrigin(from, directory);
  if (origin) {
    const resumption = resumeFrom(origin, config, subject);
    fillStore(store, origin.state.vectors);
    return { store, resumption };
  }
  if (config.init !== undefined) {
    const initial = readInitialWeights(config.init, subject.graph);
    const { weights, statistics } = initial;
    fillStore(store, { weights, velocity: store.velocity, statistics: [statistics] });
    return { store, warning: normalisationWarning(config.init, initial, subject.trainedOn.normalisation) };
  }
  return { store };
}

/** `best.msgpack` is of the best epoch of the history, or is not there. */
async function restoreBest(run: Run, position: RunPosition): Promise<void> {
  const { history, step } = position.progress;
  const file = run.files.file(BEST);
  const best = run.config.validation > 0 ? bestEpoch(history, 'validation') : null;
  const found = await readCheckpoint(file).catch(() => undefined);
  if (found?.progress.history.length === best?.epoch) return;
  await rm(file, { force: true });
  if (best === null) return;
  if (best.epoch === history.length && step === 0) {
    saveBest(run, await snapshot(run, position));
  } else {
    warnOnce(
      run,
      `${BEST}: expected the weights of epoch ${best.epoch}, which are lost; it comes back with the next best epoch`,
    );
  }
}

/** New, or with what the progress says and nothing behind it. */
async function openFolder(
  config: Config,
  { directory, from, reporter }: TrainOptions,
  progress: RunProgress,
): Promise<RunDirectory> {
  const text = configDocument(config);
  const told = (message: string) => reporter.message(`warning: ${message}`);
  return from === undefined
    ? RunDirectory.create(directory, text, told)
    : RunDirectory.reopen(directory, text, progress, told);
}

/** Training goes on with the checkpoints before. */
function tellFailure(
  { log }: RunDirectory,
  reporter: Reporter,
  { file, epoch, step, error, repeated }: CheckpointFailure,
): void {
  log.checkpointFailed({ file, epoch, step, reason: error.message });
  if (repeated) return;
  reporter.message(
    `warning: ${file} could not be written (${error.message}); training goes on, the one before it stays, and the next checkpoint brings another try`,
  );
}

/** Says what runs, in the log and to whoever watches. */
function announce(
  run: Run,
  from: TrainOptions['from'],
  resumption: Resumption | undefined,
  warnings: readonly string[],
): void {
  const { config, dataset, engine, files, reporter } = run;
  const { devices, seeds } = config;
  files.log.start({
    config: configDocument(config),
    version: JSON.parse(readFileSync(fromPackage('package.json'), 'utf8')).version,
    engine: engine.description,
    devices,
    seeds,
  });
  const done = resumption ? linesOf(config, resumption.progress) : [];
  reporter.start(outline(config, dataset, files.name), done, resumption?.progress.selections.at(-1));
  if (from !== undefined) {
    const { entry, lines } = describeResumption(resumption, engine.description);
    files.log.resume({ ...entry, engine: engine.description, devices, workers: devices.length });
    for (const line of lines) reporter.message(line);
  }
  for (const warning of warnings) warnOnce(run, warning);
  if (config.dumpGradients) describeGradients(run);
}

/** What the recorded ones hold, beside them. */
function describeGradients(run: Run): void {
  const { files, graph } = run;
  try {
    files.writeGradientLayout(graph);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    warnOnce(run, describeRefusal(files.file('gradients/layout.json'), error));
  }
}

function summarise(run: Run, { progress }: RunState): RunSummary {
  const { config, dataset, graph, engine, files } = run;
  const { history, step, trainingSeconds, seconds } = progress;
  const images = history.length * trainedImages(config, dataset) + samplesOfSteps(config, dataset, step);
  const stopped = history.length < lastEpoch(config.schedule);
  if (stopped) files.log.stop(history.length + 1, step);
  return {
    name: files.name,
    finalValidationAccuracy: history.at(-1)?.validationAccuracy ?? null,
    finalTestAccuracy: history.at(-1)?.testAccuracy ?? null,
    best: bestEpoch(history, config.validation > 0 ? 'validation' : 'test'),
    epochs: history.length,
    seconds,
    imagesPerSecond: history.length ? images / trainingSeconds : null,
    parameters: graph.parameterCount,
    engine: engine.name,
    backend: engine.name === 'tfjs' ? config.backend : null,
    devices: config.devices,
    seeds: config.seeds,
    dataset: config.dataset,
    synthetic: dataset.synthetic,
    stopped,
  };
}
