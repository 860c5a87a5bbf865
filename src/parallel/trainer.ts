// One worker's part of a run: the step loop. Runs on its own thread and blocks it; the coordinator is not in it.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addSums, type DirectionSums, directionSums, NO_SUMS } from '../amplification/directionality.ts';
import type { AmplificationSettings, Config } from '../config/schema.ts';
import { augment } from '../data/augmentation.ts';
import type { Batch, Dataset } from '../data/dataset.ts';
import { type EvaluatedPart, type Partition, partition } from '../data/partition.ts';
import { epochOrder, globalBatch, largestPass, passesOf, stepCount } from '../data/sampling.ts';
import type { DeviceMemory, Engine, PassResult, Replica } from '../engines/engine.ts';
import { createEngine } from '../engines/index.ts';
import { threadsPerWorker } from '../engines/torch/threads.ts';
import { type Candidate, candidatesOf, type LayerFactors } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';
import { buildModel } from '../models/index.ts';
import { fillInitialParameters } from '../models/initialise.ts';
import { updaterOf } from '../training/kernel-update.ts';
import { localRates } from '../training/lars.ts';
import { learningRateOf } from '../training/learning-rate.ts';
import {
  addUp,
  clipFactor,
  intersect,
  type Segment,
  segmentsOf,
  shardOf,
  tensorsOf,
  type UpdateOptions,
  type Updater,
} from '../training/update.ts';
import { Control, type ControlBuffers } from './control.ts';
import type { ParameterStore } from './store.ts';

/** What a worker is given once: all of it is shared memory or small. */
export interface TrainerSetup {
  readonly rank: number;
  /** Its engine is a named one: what `auto` stands for is found out before the threads start. */
  readonly config: Config;
  readonly dataset: Dataset;
  readonly store: ParameterStore;
  readonly control: ControlBuffers;
  /** The run's folder, for recorded gradients. */
  readonly directory?: string;
}

/** What a worker is told for (a part of) one epoch. */
export interface EpochOrder {
  readonly epoch: number;
  /** Of the epoch's phase; a curve in the config takes its place, step by step. */
  readonly learningRate: number;
  /** Of the candidates that an earlier analysis chose. */
  readonly factors: LayerFactors;
  /** The accumulators, cleared at the epoch's first step, see its gradients. */
  readonly analysed: boolean;
  /** Steps of the epoch, from 0, end excluded; all of them if absent. */
  readonly steps?: readonly [first: number, end: number];
}

/** Sums over this worker's samples of the steps that were not skipped. */
export interface EpochSums extends PassResult {
  readonly samples: number;
  /** Optimizer steps taken. */
  readonly iterations: number;
  /** Steps skipped for a non-finite gradient: by all workers, and so the same number for all. */
  readonly skipped: number;
  /** A stop was requested and the epoch is not complete. */
  readonly stopped: boolean;
  /** So many steps in a row were skipped that training cannot recover. */
  readonly diverged: boolean;
  /**
   * Of this worker's thread, where its device works by itself: milliseconds spent launching the steps, without those
   * that it waited for the device.
   */
  readonly launchMilliseconds?: number;
}

/** What the factors are of, and what the update measures; of no consequence where nothing is. */
function updateSettings({
  amplification,
}: Config): Pick<AmplificationSettings, 'apply' | 'measureWeightDecay'> {
  return amplification === 'none' ? { apply: 'gradient', measureWeightDecay: false } : amplification;
}

/** After so many skipped steps in a row training cannot recover. */
const SKIPPED_IN_A_ROW_LIMIT = 25;

export class Trainer {
  readonly #setup: TrainerSetup;
  readonly #graph: Graph;
  readonly #partition: Partition;
  readonly #control: Control;
  readonly #candidates: readonly Candidate[];
  readonly #replica: Replica;
  readonly #updater: Updater;
  /** The engine that runs here, as the log and the summary name it. */
  readonly engine: { readonly name: string; readonly description: string };
  #skippedInARow = 0;
  /** Of the epoch last trained: its steps may be ordered one by one, and sorting 50,000 images takes tens of ms. */
  #order?: { readonly epoch: number; readonly samples: Uint32Array };

  private constructor(setup: TrainerSetup, graph: Graph, engine: Engine, replica: Replica) {
    this.#setup = setup;
    this.engine = { name: engine.name, description: engine.description };
    this.#graph = graph;
    const { config, dataset } = setup;
    this.#partition = partition(dataset, { validation: config.validation, seed: config.seeds.validation });
    this.#candidates = candidatesOf(setup.config, graph);
    this.#control = new Control(setup.control);
    this.#replica = replica;
    this.#updater = updaterOf(engine);
  }

  static async create(setup: TrainerSetup): Promise<Trainer> {
    const { rank, config, dataset, store } = setup;
    const engine = await createEngine({
      ...config,
      device: config.devices[rank],
      threads: threadsPerWorker(config),
    });
    const graph = buildModel({ ...config.model, classes: dataset.classes });
    fillInitialParameters(
      graph,
      config.seeds.weights,
      store.weights,
      shardOf(graph.parameterLength, rank, config.devices.length),
    );
    const replica = engine.createReplica({
      graph,
      normalisation: dataset.normalisation,
      parameters: store.weights,
      gradient: store.gradients[rank],
      statistics: store.statistics[rank],
      labelSmoothing: config.labelSmoothing,
    });
    return new Trainer(setup, graph, engine, replica);
  }

  /** Every worker calls it with the same order; they meet at two barriers a step. */
  train(order: EpochOrder): EpochSums {
    const { rank, config, store } = this.#setup;
    const control = this.#control;
    const { epoch } = order;
    const accumulators = order.analysed ? store.accumulators : undefined;
    const { momentum, weightDecay, nesterov } = config;
    const { apply, measureWeightDecay } = updateSettings(config);
    const backpropagated = apply === 'backpropagated' ? order.factors : undefined;
    const shard = shardOf(this.#graph.parameterLength, rank, control.worldSize);
    const segments =
      apply === 'backpropagated'
        ? segmentsOf(this.#graph, shard, new Map(), 'gradient')
        : segmentsOf(this.#graph, shard, order.factors, apply);
    const samples = this.#samplesOf(epoch);
    const samplesPerStep = config.batchSize * config.accumulate;
    const stepsPerEpoch = stepCount(samples.length, samplesPerStep);
    const [first, end] = order.steps ?? [0, stepsPerEpoch];
    if (first === 0 && accumulators) {
      accumulators.S.fill(0, ...shard);
      accumulators.A.fill(0, ...shard);
    }
    const sums = { lossSum: 0, correct: 0, samples: 0, iterations: 0, skipped: 0 };

    for (let step = first; step < end; step++) {
      const globalIndices = globalBatch(samples, step, samplesPerStep);
      const passes = this.#passes(epoch, globalIndices);
      const statistics = store.statistics[rank].slice();
      const result = this.#replica.gradient(passes, globalIndices.length, backpropagated);
      // A variance can overflow though every gradient is finite; and what runs along would never recover.
      const finite = [store.gradients[rank], store.statistics[rank]].every(this.#updater.allFinite);
      control.setNonFinite(rank, !(finite && Number.isFinite(result.lossSum)));
      if (rank === 0) control.proposeStop();
      control.barrier();
      const stopping = control.stopAgreed;
      if (control.anyNonFinite) {
        store.statistics[rank].set(statistics);
        sums.skipped++;
        this.#skippedInARow++;
      } else {
        this.#skippedInARow = 0;
        this.#record((epoch - 1) * stepsPerEpoch + step + 1);
        const scales = this.#scales(segments);
        const learningRate = learningRateOf(config, order.learningRate, { epoch, step, stepsPerEpoch });
        const { weights, velocity, gradients } = store;
        this.#updater.update({ weights, velocity, gradients, accumulators }, segments, {
          ...{ learningRate, momentum, weightDecay, nesterov },
          ...{ measureWeightDecay, ...scales },
        });
        sums.lossSum += result.lossSum;
        sums.correct += result.correct;
        sums.samples += passes.reduce((count, { indices }) => count + indices.length, 0);
        sums.iterations++;
      }
      control.barrier();
      control.report(rank, { steps: step + 1 - first, ...sums });
      const diverged = this.#skippedInARow >= SKIPPED_IN_A_ROW_LIMIT;
      if (diverged || stopping) return { ...sums, stopped: step + 1 < end, diverged };
    }
    return { ...sums, stopped: false, diverged: false };
  }

  /** The training images in the order of an epoch. */
  #samplesOf(epoch: number): Uint32Array {
    if (this.#order?.epoch !== epoch) {
      const { order } = this.#setup.config.seeds;
      this.#order = { epoch, samples: epochOrder(order, epoch, this.#partition.training.indices) };
    }
    return this.#order.samples;
  }

  /** Sums over this worker's share of these images: a part of it where a stop was requested meanwhile. */
  evaluate(part: EvaluatedPart): PassResult & { samples: number } {
    const { rank, config } = this.#setup;
    const { split, indices } = this.#partition[part];
    const { worldSize } = this.#control;
    const passSize = largestPass({ batch: config.batchSize, worldSize, microBatch: config.microBatch });
    const sums = { lossSum: 0, correct: 0, samples: 0 };
    for (const [shareStart, shareEnd] of passesOf({ batch: indices.length, rank, worldSize })) {
      for (let start = shareStart; start < shareEnd; start += passSize) {
        if (this.#control.stopRequested) return sums;
        const pass = { split, indices: indices.subarray(start, Math.min(start + passSize, shareEnd)) };
        const { lossSum, correct } = this.#replica.evaluate(pass);
        sums.lossSum += lossSum;
        sums.correct += correct;
        sums.samples += pass.indices.length;
        this.#control.report(rank, { steps: 0, ...sums });
      }
    }
    return sums;
  }

  /** What this worker's shard adds to the sums of each candidate layer, in the order of the run's candidates. */
  measure(): readonly DirectionSums[] {
    const { rank, store } = this.#setup;
    const { accumulators } = store;
    if (!accumulators) throw new Error('expected a run that amplifies: without it nothing is measured');
    const shard = shardOf(this.#graph.parameterLength, rank, this.#control.worldSize);
    return this.#candidates.map(({ measured }) =>
      measured
        .map(({ offset, size }) => directionSums(accumulators, intersect([offset, offset + size], shard)))
        .reduce(addSums, NO_SUMS),
    );
  }

  /** Undefined where the device's memory is the host's. */
  deviceMemory(): DeviceMemory | undefined {
    return this.#replica.deviceMemory?.();
  }

  dispose(): void {
    this.#replica.dispose();
  }

  /** Each of the step's batches is shared among the workers by itself. */
  #passes(epoch: number, globalIndices: Uint32Array): readonly Batch[] {
    const { rank, config } = this.#setup;
    const { seeds, batchSize, microBatch } = config;
    const { split } = this.#partition.training;
    const { worldSize } = this.#control;
    const batches = Array.from({ length: stepCount(globalIndices.length, batchSize) }, (_, index) =>
      globalBatch(globalIndices, index, batchSize),
    );
    return batches.flatMap((batch) =>
      passesOf({ batch: batch.length, rank, worldSize, microBatch }).map(([start, end]) => {
        const indices = batch.subarray(start, end);
        return { split, indices, augmentation: augment(seeds.augmentation, epoch, indices) };
      }),
    );
  }

  /** What clipping and LARS make of this step: they look at whole tensors, so one more barrier where either is on. */
  #scales(segments: readonly Segment[]): Pick<UpdateOptions, 'clipScale' | 'localRates'> {
    const { rank, config, store } = this.#setup;
    const { clipNorm, lars, weightDecay } = config;
    if (clipNorm === undefined && !lars) return { clipScale: 1 };
    const { squaredNorms } = this.#updater;
    squaredNorms(store.gradients, segments, store.norms[rank].gradient);
    if (lars) squaredNorms([store.weights], segments, store.norms[rank].weights);
    this.#control.barrier();
    const gradient = addUp(store.norms.map((norms) => norms.gradient));
    const clipScale = clipNorm === undefined ? 1 : clipFactor(gradient, clipNorm);
    if (!lars) return { clipScale };
    const weights = addUp(store.norms.map((norms) => norms.weights));
    const tensors = tensorsOf(this.#graph);
    return {
      clipScale,
      localRates: localRates(tensors, { weights, gradient }, { ...lars, weightDecay, clipScale }),
    };
  }

  /** `dumpGradients`: rank 0 writes the reduced gradient of a step as raw float32. Between the barriers of a step. */
  #record(optimizerStep: number): void {
    const { rank, config, store, directory } = this.#setup;
    if (rank !== 0 || !config.dumpGradients || !directory) return;
    const [first, last] = config.dumpGradients;
    if (optimizerStep < first || optimizerStep > last) return;
    const reduced = Float64Array.from(store.gradients[0]);
    for (const gradient of store.gradients.slice(1)) {
      for (let i = 0; i < reduced.length; i++) reduced[i] += gradient[i];
    }
    mkdirSync(join(directory, 'gradients'), { recursive: true });
    const file = `step-${String(optimizerStep).padStart(6, '0')}.f32`;
    writeFileSync(join(directory, 'gradients', file), Float32Array.from(reduced));
  }
}
