// One worker's part of a run: the step loop. Runs on its own thread and blocks it; the coordinator is not in it.

import type { DirectionSums } from '../amplification/directionality.ts';
import type { Config } from '../config/schema.ts';
import { augment } from '../data/augmentation.ts';
import type { Batch, Dataset } from '../data/dataset.ts';
import { type EvaluatedPart, type Partition, partition } from '../data/partition.ts';
import { epochOrder, globalBatch, largestPass, passesOf, stepCount } from '../data/sampling.ts';
import type { DeviceMemory, Engine, PassResult, StepTotals } from '../engines/engine.ts';
import { createEngine } from '../engines/index.ts';
import { threadsPerWorker } from '../engines/torch/threads.ts';
import { candidatesOf } from '../models/candidates.ts';
import { buildModel } from '../models/index.ts';
import { fillInitialParameters } from '../models/initialise.ts';
import { learningRateOf } from '../training/learning-rate.ts';
import { shardOf } from '../training/update.ts';
import { collectiveOf } from './collective.ts';
import { Control, type ControlBuffers } from './control.ts';
import type { NonFinite } from './divergence.ts';
import { ResidentStepper } from './resident-stepper.ts';
import { SharedStepper } from './shared-stepper.ts';
import type { SkippedStep, Stepper, StepperOrder } from './stepper.ts';
import type { StepperSetup } from './stepper-setup.ts';
import type { ParameterStore } from './store.ts';
import type { Place } from './whereabouts.ts';

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
  /** The store holds weights: none are drawn. */
  readonly filled?: boolean;
}

/** What a worker is told for (a part of) one epoch. */
export interface EpochOrder extends StepperOrder {
  readonly epoch: number;
  /** Of the epoch's phase; a curve in the config takes its place, step by step. */
  readonly learningRate: number;
  /** The momentum buffer starts from 0. */
  readonly resetMomentum?: boolean;
  /** Steps of the epoch, from 0, end excluded; all of them if absent. */
  readonly steps?: readonly [first: number, end: number];
}

/**
 * Sums over this worker's samples of the steps that were not skipped, added to the order's totals. A step is skipped by
 * all workers: the numbers of steps are the same for all.
 */
export interface EpochSums extends Omit<StepTotals, 'waitedMilliseconds'> {
  /** Steps of the epoch that are behind it now. */
  readonly step: number;
  /** A pause or a stop was requested, and there are steps left. */
  readonly paused: boolean;
  /** `skipLimit` steps in a row were skipped: training cannot recover. */
  readonly diverged: boolean;
  /** Of the steps skipped last, what this worker knows; a device knows it of those only that the epoch ended with. */
  readonly nonFinite?: NonFinite;
  /**
   * Of this worker's thread, where its device works by itself: milliseconds spent launching the steps, without those
   * that it waited for the device.
   */
  readonly launchMilliseconds?: number;
  /** What the device does otherwise than the config would have it. */
  readonly warning?: string;
}

export class Trainer {
  readonly #setup: TrainerSetup;
  readonly #partition: Partition;
  readonly #control: Control;
  readonly #engine: Engine;
  readonly #stepper: Stepper;
  /** The engine that runs here, as the log and the summary name it. */
  readonly engine: { readonly name: string; readonly description: string };
  /** Of the epoch last trained: its steps may be ordered one by one, and sorting 50,000 images takes tens of ms. */
  #order?: { readonly epoch: number; readonly samples: Uint32Array };

  private constructor(setup: TrainerSetup, control: Control, engine: Engine, stepper: Stepper) {
    this.#setup = setup;
    this.#engine = engine;
    this.engine = { name: engine.name, description: engine.description };
    const { config, dataset } = setup;
    this.#partition = partition(dataset, { validation: config.validation, seed: config.seeds.validation });
    this.#control = control;
    this.#stepper = stepper;
  }

  /** @param given in place of the engine that the config names. */
  static async create(setup: TrainerSetup, given?: Engine): Promise<Trainer> {
    const { rank, config, dataset, store, filled = false } = setup;
    const engine =
      given ??
      (await createEngine({
        ...config,
        device: config.devices[rank],
        threads: threadsPerWorker(config),
      }));
    const graph = buildModel({ ...config.model, classes: dataset.classes });
    const shard = shardOf(graph.parameterLength, rank, config.devices.length);
    if (!filled) fillInitialParameters(graph, config.seeds.weights, store.weights, shard);
    const control = new Control(setup.control, rank);
    const candidates = candidatesOf(config, graph);
    const stepper = createStepper(engine, { ...setup, graph, control, candidates });
    control.enter('idle');
    return new Trainer(setup, control, engine, stepper);
  }

  /** Every worker calls it with the same order; they meet before and behind each update. */
  train(order: EpochOrder): EpochSums {
    const { rank, config } = this.#setup;
    const control = this.#control;
    const stepper = this.#stepper;
    const { epoch } = order;
    const samples = this.#samplesOf(epoch);
    const samplesPerStep = config.batchSize * config.accumulate;
    const stepsPerEpoch = stepCount(samples.length, samplesPerStep);
    const [first, end] = order.steps ?? [0, stepsPerEpoch];
    control.enter('beginning', { epoch, step: first });
    if (order.resetMomentum) stepper.resetMomentum();
    stepper.begin(order);
    let taken = first;
    let pausing = false;
    let diverged = false;
    const started = performance.now();

    while (taken < end && !pausing && !diverged) {
      control.enter('computing', { epoch, step: taken + 1 });
      const globalIndices = globalBatch(samples, taken, samplesPerStep);
      const step = {
        passes: this.#passes(epoch, globalIndices),
        batchSize: globalIndices.length,
        learningRate: learningRateOf(config, order.learningRate, { epoch, step: taken, stepsPerEpoch }),
        first: taken === 0,
        optimizerStep: (epoch - 1) * stepsPerEpoch + taken + 1,
      };
      stepper.compute(step);
      if (rank === 0) control.proposePause();
      control.enter('before the update');
      control.barrier();
      control.enter('updating');
      pausing = control.pauseAgreed;
      const totals = stepper.update(step);
      control.enter('behind the update');
      control.barrier();
      taken++;
      control.report(rank, { steps: taken, ...totals });
      diverged = totals.skippedInARow >= config.skipLimit;
    }
    const launched = performance.now() - started;
    control.enter('finishing');
    const totals = stepper.end();
    control.enter('idle');
    const { lossSum, correct, samples: seen, iterations, skipped, skippedInARow } = totals;
    const { waitedMilliseconds: waited } = totals;
    return {
      ...{ lossSum, correct, samples: seen, iterations, skipped, skippedInARow },
      step: taken,
      paused: pausing && taken < end,
      // What ended the loop counts, though a step that was in flight then may have succeeded.
      diverged: diverged || skippedInARow >= config.skipLimit,
      ...(waited !== undefined && { launchMilliseconds: launched - waited }),
      ...(stepper.nonFinite && { nonFinite: placed(stepper.nonFinite, stepsPerEpoch) }),
      ...(stepper.warning !== undefined && { warning: stepper.warning }),
    };
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
    return this.#at('evaluating', () => this.#evaluate(part));
  }

  #evaluate(part: EvaluatedPart): PassResult & { samples: number } {
    const { rank, config } = this.#setup;
    const { split, indices } = this.#partition[part];
    const { worldSize } = this.#control;
    const passSize = largestPass({ batch: config.batchSize, worldSize, microBatch: config.microBatch });
    const sums = { lossSum: 0, correct: 0, samples: 0 };
    for (const [shareStart, shareEnd] of passesOf({ batch: indices.length, rank, worldSize })) {
      for (let start = shareStart; start < shareEnd; start += passSize) {
        if (this.#control.stopRequested) return sums;
        const pass = { split, indices: indices.subarray(start, Math.min(start + passSize, shareEnd)) };
        const { lossSum, correct } = this.#stepper.evaluate(pass);
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
    return this.#at('measuring', () => this.#stepper.measure());
  }

  /** Puts weights, momentum, S and A into the store, where they are not kept there. */
  publish(): void {
    this.#at('publishing', () => this.#stepper.publish());
  }

  /** Undefined where the device's memory is the host's. */
  deviceMemory(): DeviceMemory | undefined {
    return this.#engine.deviceMemory?.();
  }

  dispose(): void {
    this.#stepper.dispose();
  }

  /** Tells where this worker is; a place that it does not come back from stays told. */
  #at<T>(place: Place, work: () => T): T {
    this.#control.enter(place);
    const result = work();
    this.#control.enter('idle');
    return result;
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
}

const placed = ({ optimizerStep, where }: SkippedStep, stepsPerEpoch: number): NonFinite => ({
  epoch: Math.floor((optimizerStep - 1) / stepsPerEpoch) + 1,
  step: ((optimizerStep - 1) % stepsPerEpoch) + 1,
  where,
});

/** A run on one device stays there; several devices that are a group each do, and all others meet in shared memory. */
function createStepper(engine: Engine, setup: StepperSetup): Stepper {
  const { createResidentReplica, makeGroupId } = engine;
  return createResidentReplica && makeGroupId && collectiveOf(setup.config) !== 'shared-memory'
    ? new ResidentStepper({ createResidentReplica, makeGroupId }, setup)
    : new SharedStepper(engine, setup);
}
