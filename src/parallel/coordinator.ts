// A training run from config to summary, on the main thread: orders the workers epoch by epoch, chooses layers,
// writes the run's files. Never blocks, and is not in the step loop.

import { readFileSync } from 'node:fs';
import { addSums } from '../amplification/directionality.ts';
import { lastEpoch } from '../amplification/phases.ts';
import { type Selection, type SelectionContext, select } from '../amplification/selection.ts';
import { configDocument } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { readCifar } from '../data/cifar.ts';
import type { Dataset } from '../data/dataset.ts';
import type { EvaluatedPart } from '../data/partition.ts';
import { chooseEngine } from '../engines/index.ts';
import { type Candidate, candidatesOf, type LayerFactors } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';
import { buildModel } from '../models/index.ts';
import { fromPackage } from '../package-root.ts';
import { trainedOn, writeCheckpoint } from '../training/checkpoint.ts';
import { bestEpoch, type EpochMetrics, type RunSummary } from '../training/metrics.ts';
import type { Reporter } from '../training/reporter.ts';
import { RunDirectory } from '../training/run-directory.ts';
import { createControlBuffers } from './control.ts';
import { checkEpoch, DivergedError } from './divergence.ts';
import { firstRateOf, outline, phaseOf, planOf } from './outline.ts';
import { ProgressMeter } from './progress-meter.ts';
import { checkSizes, trainedImages } from './sizes.ts';
import { averageStatistics, createStore, type ParameterStore } from './store.ts';
import type { Trainer } from './trainer.ts';
import { WorkerGroup } from './worker-group.ts';

export interface TrainOptions {
  /** The run's folder: new or empty. Its last part is the run's name. */
  readonly directory: string;
  readonly reporter: Reporter;
  /** Aborted by Ctrl-C: the run stops after the step it is in and keeps what it has. */
  readonly signal?: AbortSignal;
}

/** What a run leaves: its summary, and every choice of layers that it made. */
export interface TrainResult {
  readonly summary: RunSummary;
  readonly selections: readonly Selection[];
}

/** What does not change while a run lasts. */
interface Run {
  readonly config: Config;
  readonly dataset: Dataset;
  readonly graph: Graph;
  readonly store: ParameterStore;
  readonly workers: WorkerGroup;
  readonly engine: Trainer['engine'];
  readonly directory: RunDirectory;
  readonly reporter: Reporter;
  readonly meter: ProgressMeter;
  readonly signal?: AbortSignal;
  /** By `performance.now()`. */
  readonly started: number;
}

/** How far a run has come. */
interface RunState {
  /** Of the complete epochs. */
  readonly history: EpochMetrics[];
  readonly selections: Selection[];
  /** Of the candidates chosen at the last analysis of the phase; empty where nothing is changed. */
  factors: LayerFactors;
  /** Steps taken in the epoch behind the complete ones. */
  stepsIntoEpoch: number;
  trainingSeconds: number;
  /** Told so far. */
  readonly warnings: Set<string>;
}

/**
 * Trains as `config` says and writes the run's folder.
 * @throws UsageError before anything is written; WorkerError and DivergedError behind that, with the files as far as
 * the run came.
 */
export async function train(config: Config, options: TrainOptions): Promise<TrainResult> {
  const { reporter, signal } = options;
  const started = performance.now();
  const choice = chooseEngine(config);
  RunDirectory.check(options.directory);
  const dataset = await readCifar(config.dataset, config.dataDir);
  const graph = buildModel({ ...config.model, classes: dataset.classes });
  checkSizes(config, choice.engine, dataset, graph);

  const store = createStore(graph, config);
  const control = createControlBuffers(config.devices.length);
  const workers = new WorkerGroup(
    config.devices.map((_, rank) => ({
      rank,
      config: { ...config, engine: choice.engine },
      dataset,
      store,
      control,
      directory: options.directory,
    })),
  );
  const stop = () => workers.control.requestStop();
  signal?.addEventListener('abort', stop);
  try {
    const [engine] = await workers.all((worker) => worker.start());
    const directory = RunDirectory.create(options.directory, configDocument(config));
    if (config.dumpGradients) directory.writeGradientLayout(graph);
    const { devices, seeds } = config;
    directory.log.start({
      config: configDocument(config),
      version: JSON.parse(readFileSync(fromPackage('package.json'), 'utf8')).version,
      engine: engine.description,
      devices,
      seeds,
    });
    reporter.start(outline(config, dataset, directory.name));
    const meter = new ProgressMeter(config, dataset, workers.control, reporter);
    const run = {
      config,
      dataset,
      graph,
      store,
      workers,
      engine,
      directory,
      reporter,
      meter,
      signal,
      started,
    };
    const state: RunState = {
      history: [],
      selections: [],
      factors: new Map(),
      stepsIntoEpoch: 0,
      trainingSeconds: 0,
      warnings: new Set(),
    };
    for (const warning of choice.warnings) warnOnce(run, state, warning);
    try {
      while (state.history.length < lastEpoch(config.schedule) && !signal?.aborted)
        await trainEpoch(run, state);
      return { summary: await finish(run, state), selections: state.selections };
    } catch (error) {
      directory.log.error(error);
      throw error;
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    await workers.close();
  }
}

/** One epoch: train, choose where it is an analysis, evaluate, write. Nothing is written of one that is stopped. */
async function trainEpoch(run: Run, state: RunState): Promise<void> {
  const { config, dataset, store, workers, directory, reporter, meter, signal } = run;
  const started = performance.now();
  const epoch = state.history.length + 1;
  const plan = planOf(config, epoch);
  if (!plan.acts) state.factors = new Map();
  const { analysed } = plan;
  const learningRate = firstRateOf(config, dataset, plan);
  const { factors } = state;
  const phase = phaseOf(config, plan, factors.size > 0);

  const resetMomentum = plan.entersPhase && config.resetMomentum;
  const order = { epoch, learningRate: plan.learningRate, factors, analysed, resetMomentum };
  const trained = await meter.during(epoch, phase, () => workers.all((worker) => worker.train(order)));
  averageStatistics(store);
  const trainingSeconds = secondsSince(started);
  const [{ iterations, skipped, stopped, diverged }] = trained;
  for (const { warning } of trained) warnOnce(run, state, warning);
  state.stepsIntoEpoch = iterations + skipped;
  if (diverged) throw new DivergedError(`epoch ${epoch}, up to step ${state.stepsIntoEpoch}`);
  if (stopped) return;

  const evaluate = (part: EvaluatedPart) =>
    meter.during(epoch, part === 'test' ? 'evaluation' : part, () =>
      workers.all((worker) => worker.evaluate(part)),
    );
  const validated = config.validation > 0 ? await evaluate('validation') : [];
  const tested = await evaluate('test');
  if (signal?.aborted) return;
  if (analysed) {
    const { factor } = plan;
    const selection = await choose(run, { epoch, iterations, index: state.selections.length, factor });
    state.selections.push(selection);
    state.factors = new Map(
      selection.layers.flatMap(({ name, factor }) => (factor === 1 ? [] : [[name, factor]])),
    );
    directory.appendSelection(selection);
    reporter.selection(selection);
  }
  const [trainLoss, trainAccuracy] = means(trained);
  const [validationLoss, validationAccuracy] = means(validated);
  const [testLoss, testAccuracy] = means(tested);
  const metrics: EpochMetrics = {
    epoch,
    phase: plan.phase,
    learningRate,
    analysed,
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
  state.history.push(metrics);
  state.stepsIntoEpoch = 0;
  // Before the metrics tell of it; never by what the test images say.
  if (bestEpoch(state.history, 'validation')?.epoch === epoch) await keep(run, state, 'best.msgpack');
  state.trainingSeconds += trainingSeconds;
  const seconds = secondsSince(started);
  const imagesPerSecond = trainedImages(config, dataset) / trainingSeconds;
  directory.appendEpoch(metrics, { epoch, seconds, imagesPerSecond });
  reporter.epochEnd({ ...metrics, epochs: lastEpoch(config.schedule), phase, seconds, imagesPerSecond });
  const losses = config.validation > 0 ? [validationLoss, testLoss] : [testLoss];
  checkEpoch(epoch, { iterations, skipped }, losses);
}

function warnOnce({ directory, reporter }: Run, { warnings }: RunState, warning?: string): void {
  if (warning === undefined || warnings.has(warning)) return;
  warnings.add(warning);
  directory.log.warning(warning);
  reporter.message(`warning: ${warning}`);
}

/** Ranks the candidates by what the workers' shards sum up to. */
async function choose(run: Run, where: Omit<SelectionContext, 'seed'>): Promise<Selection> {
  const { config, graph, workers } = run;
  if (config.amplification === 'none')
    throw new Error('expected no analysis in a run that amplifies nothing');
  const layers = await measureCandidates(workers, candidatesOf(config, graph));
  return select(config.amplification, layers, { ...where, seed: config.seeds.selection });
}

/** Sums of each candidate over the workers' shards, in rank order. */
export async function measureCandidates(workers: WorkerGroup, candidates: readonly Candidate[]) {
  const shards = await workers.all((worker) => worker.measure());
  return candidates.map(({ name, kind }, index) => ({
    name,
    kind,
    sums: shards.map((shard) => shard[index]).reduce(addSums),
  }));
}

/** Writes the trained numbers as they are now. */
async function keep(
  { config, dataset, store, workers, directory }: Run,
  state: RunState,
  file: string,
): Promise<void> {
  await workers.all((worker) => worker.publish());
  const { weights, velocity, statistics } = store;
  await writeCheckpoint(directory.file(file), {
    config: configDocument(config),
    trainedOn: trainedOn(dataset),
    epoch: state.history.length,
    step: state.stepsIntoEpoch,
    weights,
    velocity,
    statistics: statistics[0],
  });
}

/** Writes checkpoint and summary. */
async function finish(run: Run, state: RunState): Promise<RunSummary> {
  const { config, dataset, graph, engine, directory } = run;
  const { history, stepsIntoEpoch, trainingSeconds } = state;
  await keep(run, state, 'checkpoint.msgpack');
  const images = history.length * trainedImages(config, dataset);
  const summary: RunSummary = {
    name: directory.name,
    finalValidationAccuracy: history.at(-1)?.validationAccuracy ?? null,
    finalTestAccuracy: history.at(-1)?.testAccuracy ?? null,
    best: bestEpoch(history, config.validation > 0 ? 'validation' : 'test'),
    epochs: history.length,
    seconds: secondsSince(run.started),
    imagesPerSecond: history.length ? images / trainingSeconds : null,
    parameters: graph.parameterCount,
    engine: engine.name,
    backend: engine.name === 'tfjs' ? config.backend : null,
    devices: config.devices,
    seeds: config.seeds,
    dataset: config.dataset,
    synthetic: dataset.synthetic,
    stopped: history.length < lastEpoch(config.schedule),
  };
  if (summary.stopped) directory.log.stop(history.length + 1, stepsIntoEpoch);
  directory.writeSummary(summary);
  return summary;
}

const secondsSince = (started: number) => (performance.now() - started) / 1000;

/** Mean loss and accuracy over the samples of all workers; null where there are none, or the loss is not finite. */
function means(parts: readonly { lossSum: number; correct: number; samples: number }[]) {
  const sum = (key: 'lossSum' | 'correct' | 'samples') => parts.reduce((total, part) => total + part[key], 0);
  const samples = sum('samples');
  const loss = sum('lossSum') / samples;
  return Number.isFinite(loss) ? [loss, sum('correct') / samples] : [null, null];
}
