// Steps of training that are timed, ours or a peer's: what such a process answers, and how many steps a sample takes.

import type { Config } from '../src/config/schema.ts';
import { trainingFlops } from '../src/models/summary.ts';
import { graphOf } from './measured.ts';
import { median } from './statistics.ts';
import { type Command, nodeCommand, Subject } from './subject.ts';

/** A peer knows only steps. */
export type TrainingRequest =
  | { readonly kind: 'steps'; readonly steps: number }
  | { readonly kind: 'epoch'; readonly analysed: boolean };

export interface TrainingAnswer {
  /** Of all that was asked for. */
  readonly milliseconds: number;
  /** Part of them: ranking and choosing layers at the end of an analysis epoch. */
  readonly choiceMilliseconds: number;
  /** Largest resident set so far, of all processes on this side together. */
  readonly peakBytes: number;
}

export interface TrainingIntroduction {
  readonly engine: { readonly name: string; readonly description: string };
}

export interface Sample {
  readonly millisecondsPerStep: number;
  readonly peakBytes: number;
}

/** Outside the clock: compilation, growth of heaps, the choice of algorithms. */
const WARM_UP_STEPS = 3;
/** In milliseconds. */
const SHORTEST_SAMPLE = 1000;
const STEPS_PER_EPOCH = 16;

/** Starts ours. */
export function startTraining(config: Config, stepsPerEpoch = STEPS_PER_EPOCH) {
  return Subject.start<TrainingIntroduction, TrainingRequest, TrainingAnswer>(
    'gradamp',
    nodeCommand('training-process', config, stepsPerEpoch),
  );
}

/** Starts a peer's; its introduction tells its versions. */
export function startPeer<Introduction>(name: string, command: Command) {
  return Subject.start<Introduction, TrainingRequest, TrainingAnswer>(name, command);
}

export type StepSubject = Pick<Subject<unknown, TrainingRequest, TrainingAnswer>, 'ask'>;

/**
 * Takes the first steps of a process.
 * @param steps of a sample; without it as many as a second holds.
 */
export async function warmUp(
  subject: StepSubject,
  steps?: number,
): Promise<{ sample: () => Promise<Sample>; steps: number }> {
  await subject.ask({ kind: 'steps', steps: WARM_UP_STEPS - 1 });
  const { milliseconds } = await subject.ask({ kind: 'steps', steps: 1 });
  const count = steps ?? Math.ceil(SHORTEST_SAMPLE / milliseconds);
  const sample = async () => {
    const { milliseconds, peakBytes } = await subject.ask({ kind: 'steps', steps: count });
    return { millisecondsPerStep: milliseconds / count, peakBytes };
  };
  return { sample, steps: count };
}

export interface Speed {
  /** Of a step, by sample. */
  readonly milliseconds: readonly number[];
  readonly medianMilliseconds: number;
  readonly imagesPerSecond: number;
  /** Of convolutions and linear layers. */
  readonly gflops: number;
  readonly peakBytes: number;
  readonly stepsPerSample: number;
}

/** @param work a step's images and floating-point operations. */
export function speedOf(
  samples: readonly Sample[],
  stepsPerSample: number,
  work: { readonly images: number; readonly flops: number },
): Speed {
  const milliseconds = samples.map(({ millisecondsPerStep }) => millisecondsPerStep);
  const medianMilliseconds = median(milliseconds);
  return {
    milliseconds,
    medianMilliseconds,
    imagesPerSecond: (1000 * work.images) / medianMilliseconds,
    gflops: work.flops / medianMilliseconds / 1e6,
    peakBytes: Math.max(...samples.map(({ peakBytes }) => peakBytes)),
    stepsPerSample,
  };
}

/** What one optimizer step computes. */
export function workOf(config: Config): { images: number; flops: number } {
  const images = config.batchSize * config.accumulate;
  return { images, flops: images * trainingFlops(graphOf(config)) };
}
