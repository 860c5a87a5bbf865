// Steps of training that are timed, ours or a peer's: what such a process answers, and how many steps a sample takes.

import type { Config } from '../src/config/schema.ts';
import type { DeviceMemory } from '../src/engines/engine.ts';
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
  /** Of all devices together; null where they have no memory of their own, or nothing tells it. */
  readonly devicePeakBytes: DeviceMemory | null;
  /** Part of `milliseconds`: what the busiest worker's thread took to launch the steps; null where nothing tells it. */
  readonly hostMilliseconds: number | null;
}

export interface TrainingIntroduction {
  readonly engine: { readonly name: string; readonly description: string };
}

export type Sample = Pick<TrainingAnswer, 'peakBytes' | 'devicePeakBytes'> & {
  readonly millisecondsPerStep: number;
  readonly hostMillisecondsPerStep: number | null;
};

/** Outside the clock: compilation, growth of heaps, the choice of algorithms, the capture of a graph. */
const WARM_UP = {
  cpu: { steps: 2, timed: 1 },
  // A step is over in milliseconds, and the first ones are no guide to the others.
  cuda: { steps: 20, timed: 10 },
};
/** In milliseconds: what disturbs a CPU, another program's turn or its clock, lasts longer. */
const SHORTEST_SAMPLE = { cpu: 1000, cuda: 300 };
const STEPS_PER_EPOCH = 16;
/** At least so many in an epoch on a GPU, whose steps are otherwise shorter than the pause between two epochs. */
const IMAGES_ON_GPU = 16_384;

export const usesGpu = ({ devices }: Pick<Config, 'devices'>): boolean => devices[0] !== 'cpu';

/** Steps in an epoch of a measured run, and so the size of its data, on our side and on the peers'. */
export function stepsPerEpochOf(config: Config): number {
  const images = config.batchSize * config.accumulate;
  return usesGpu(config) ? Math.max(STEPS_PER_EPOCH, Math.ceil(IMAGES_ON_GPU / images)) : STEPS_PER_EPOCH;
}

/** Starts ours. */
export function startTraining(config: Config, stepsPerEpoch = stepsPerEpochOf(config)) {
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
 * @param steps of a sample; without it as many as SHORTEST_SAMPLE holds.
 */
export async function warmUp(
  subject: StepSubject,
  config: Pick<Config, 'devices'>,
  steps?: number,
): Promise<{ sample: () => Promise<Sample>; steps: number }> {
  const kind = usesGpu(config) ? 'cuda' : 'cpu';
  const { steps: first, timed } = WARM_UP[kind];
  await subject.ask({ kind: 'steps', steps: first });
  const { milliseconds } = await subject.ask({ kind: 'steps', steps: timed });
  const count = steps ?? Math.ceil((SHORTEST_SAMPLE[kind] * timed) / milliseconds);
  const sample = async () => {
    const answer = await subject.ask({ kind: 'steps', steps: count });
    const { milliseconds, hostMilliseconds, peakBytes, devicePeakBytes } = answer;
    const hostMillisecondsPerStep = hostMilliseconds === null ? null : hostMilliseconds / count;
    return { millisecondsPerStep: milliseconds / count, hostMillisecondsPerStep, peakBytes, devicePeakBytes };
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
  readonly devicePeakBytes: DeviceMemory | null;
  /** Of a step, by sample and as the median; null where nothing tells it. */
  readonly hostMilliseconds: readonly number[] | null;
  readonly medianHostMilliseconds: number | null;
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
  const told = samples.flatMap(({ hostMillisecondsPerStep }) => hostMillisecondsPerStep ?? []);
  const hostMilliseconds = told.length === samples.length ? told : null;
  return {
    milliseconds,
    medianMilliseconds,
    imagesPerSecond: (1000 * work.images) / medianMilliseconds,
    gflops: work.flops / medianMilliseconds / 1e6,
    peakBytes: Math.max(...samples.map(({ peakBytes }) => peakBytes)),
    // Peaks do not fall.
    devicePeakBytes: samples[samples.length - 1].devicePeakBytes,
    hostMilliseconds,
    medianHostMilliseconds: hostMilliseconds && median(hostMilliseconds),
    stepsPerSample,
  };
}

/** What one optimizer step computes. */
export function workOf(config: Config): { images: number; flops: number } {
  const images = config.batchSize * config.accumulate;
  return { images, flops: images * trainingFlops(graphOf(config)) };
}
