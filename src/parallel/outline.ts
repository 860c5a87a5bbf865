// What is known of a run's epochs from its config, before the first and as each begins: plans, rates and names.

import { type EpochPlan, lastEpoch, planEpoch } from '../amplification/phases.ts';
import { PARTICIPLES } from '../amplification/response.ts';
import type { Config } from '../config/schema.ts';
import { stepCount } from '../data/sampling.ts';
import { learningRateOf } from '../training/learning-rate.ts';
import type { EpochLine, EpochPhase, RunOutline } from '../training/reporter.ts';
import type { RunProgress } from '../training/run-state.ts';
import { type TrainingSize, trainedImages } from './sizes.ts';

/** @param dataset the part of it that matters, so that a run can be described without its data. */
export function outline(config: Config, dataset: TrainingSize, name: string): RunOutline {
  const { model, devices, batchSize, validation, schedule } = config;
  const epochs = Array.from({ length: lastEpoch(schedule) }, (_, index) => {
    const plan = planOf(config, index + 1);
    const acts = plan.acts && changesLayers(config, plan.factor);
    return { phase: phaseOf(config, plan, acts), learningRate: firstRateOf(config, dataset, plan) };
  });
  return { name, model: model.name, dataset: config.dataset, devices, batchSize, validation, epochs };
}

/** An epoch of the run, from 1. */
export function planOf({ schedule, amplification }: Config, epoch: number): EpochPlan {
  return planEpoch(schedule, amplification === 'none' ? 'none' : amplification.reselect, epoch);
}

/** The learning rate of an epoch's first step: what is shown and written for the epoch. */
export function firstRateOf(
  config: Config,
  dataset: TrainingSize,
  { epoch, learningRate }: EpochPlan,
): number {
  const stepsPerEpoch = stepCount(trainedImages(config, dataset), config.batchSize * config.accumulate);
  return learningRateOf(config, learningRate, { epoch, step: 0, stepsPerEpoch });
}

/** The complete epochs of a run, as a reporter is told of them. */
export function linesOf(config: Config, { history, timings }: RunProgress): readonly EpochLine[] {
  return history.map((metrics, index) => {
    const acts = metrics.amplified.length + metrics.reduced.length > 0;
    return {
      ...{ ...metrics, ...timings[index], epochs: lastEpoch(config.schedule) },
      phase: phaseOf(config, planOf(config, metrics.epoch), acts),
    };
  });
}

/** What an epoch is called; `acts`: whether a choice changes anything in it. */
export function phaseOf({ amplification }: Config, { analysed }: EpochPlan, acts: boolean): EpochPhase {
  if (analysed) return 'analysis';
  return acts && amplification !== 'none' ? PARTICIPLES[amplification.response] : 'plain';
}

/** Whether a choice in a phase of this factor can change anything. */
const changesLayers = ({ amplification }: Config, factor: number): boolean =>
  factor !== 1 || (amplification !== 'none' && amplification.response === 'freeze');
