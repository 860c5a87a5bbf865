// `gradamp bench step --profile`: the time of every operation of a training step on one worker, as a table by
// operation, one by layer, and a trace for Perfetto.

import { writeFileSync } from 'node:fs';
import type { Config } from '../src/config/schema.ts';
import type { Batch } from '../src/data/dataset.ts';
import { passesOf } from '../src/data/sampling.ts';
import type { OperationTiming } from '../src/engines/engine.ts';
import { createEngine } from '../src/engines/index.ts';
import { UsageError } from '../src/errors.ts';
import { initialParameters, initialStatistics } from '../src/models/initialise.ts';
import { updaterOf } from '../src/training/kernel-update.ts';
import { segmentsOf } from '../src/training/update.ts';
import { graphOf, threadsOf } from './measured.ts';
import { noiseBatch, normalisation } from './synthetic-data.ts';

/** An operation of a step; `update` has no phase of the sweep. */
export type StepTiming = Omit<OperationTiming, 'phase'> & {
  readonly phase: OperationTiming['phase'] | 'update';
  /** From 0. */
  readonly step: number;
};

/** Times are means over the steps, in milliseconds a step. */
export interface ProfileRow {
  /** An operation's, or a layer's. */
  readonly name: string;
  readonly calls: number;
  readonly forward: number;
  readonly backward: number;
  readonly update: number;
  readonly total: number;
  /** Of the step, 0..1. */
  readonly share: number;
}

export interface Profile {
  /** Images in the worker's share of a step. */
  readonly images: number;
  readonly engine: string;
  /** Steps. */
  readonly n: number;
  readonly millisecondsPerStep: number;
  readonly operations: readonly ProfileRow[];
  /** What uses no parameters is gathered under its operation's name in brackets. */
  readonly layers: readonly ProfileRow[];
}

const WARM_UP_STEPS = 2;

/**
 * Runs steps of the first worker's share on this thread, alone: no barrier, no other worker.
 */
export async function profileSteps(
  config: Config,
  steps: number,
): Promise<{ profile: Profile; timings: readonly StepTiming[] }> {
  const { devices, batchSize, microBatch, accumulate, momentum, weightDecay, nesterov } = config;
  const engine = await createEngine({ ...config, device: devices[0], threads: threadsOf(config) });
  const graph = graphOf(config);
  const weights = initialParameters(graph, config.seed);
  const [gradient, velocity] = [new Float32Array(weights.length), new Float32Array(weights.length)];
  const timings: StepTiming[] = [];
  let step = -WARM_UP_STEPS;
  const replica = engine.createReplica({
    ...{ graph, normalisation, parameters: weights, gradient, statistics: initialStatistics(graph) },
    labelSmoothing: config.labelSmoothing,
    profile: (timing) => timings.push({ ...timing, step }),
  });
  const batch = noiseBatch(batchSize);
  const share = passesOf({ batch: batchSize, rank: 0, worldSize: devices.length, microBatch });
  const batchPasses = share.map(([start, end]) => part(batch, start, end));
  const passes = Array.from({ length: accumulate }, () => batchPasses).flat();
  const updater = updaterOf(engine);
  const segments = segmentsOf(graph, [0, weights.length], new Map(), 'gradient');
  const { learningRate } = config.schedule[0];
  const options = { learningRate, momentum, weightDecay, nesterov, clipScale: 1, measureWeightDecay: false };
  for (; step < steps; step++) {
    replica.gradient(passes, batchSize * accumulate);
    // A device updates by itself, in what no host can time.
    if (engine.createResidentReplica) continue;
    const start = 1000 * performance.now();
    updater.update({ weights, velocity, gradients: [gradient] }, segments, options);
    const duration = 1000 * performance.now() - start;
    timings.push({ name: 'update', op: 'update', phase: 'update', start, duration, step });
  }
  replica.dispose();
  const measured = timings.filter((timing) => timing.step >= 0);
  const images = passes.reduce((sum, { indices }) => sum + indices.length, 0);
  return {
    profile: { images, engine: engine.description, ...summarise(measured, steps) },
    timings: measured,
  };
}

function part({ split, indices, augmentation }: Batch, start: number, end: number): Batch {
  const { top, left, flip } = augmentation!;
  const [a, b, c] = [top, left, flip].map((values) => values.subarray(start, end));
  return { split, indices: indices.subarray(start, end), augmentation: { top: a, left: b, flip: c } };
}

/** Rows by falling time. */
export function summarise(
  timings: readonly StepTiming[],
  steps: number,
): Pick<Profile, 'n' | 'millisecondsPerStep' | 'operations' | 'layers'> {
  const millisecondsPerStep = timings.reduce((sum, { duration }) => sum + duration, 0) / 1000 / steps;
  const rowsBy = (nameOf: (timing: StepTiming) => string): ProfileRow[] => {
    const groups = groupBy(timings, nameOf);
    const rows = [...groups].map(([name, group]) => {
      const spent = (phase?: StepTiming['phase']) =>
        group.reduce((sum, timing) => sum + (phase && timing.phase !== phase ? 0 : timing.duration), 0) /
        1000 /
        steps;
      const total = spent();
      return {
        ...{ name, calls: group.length / steps, total, share: total / millisecondsPerStep },
        ...{ forward: spent('forward'), backward: spent('backward'), update: spent('update') },
      };
    });
    return rows.sort((a, b) => b.total - a.total);
  };
  return {
    n: steps,
    millisecondsPerStep,
    operations: rowsBy(({ op }) => op),
    layers: rowsBy(({ layer, op }) => layer ?? `(${op})`),
  };
}

function groupBy<Key>(
  timings: readonly StepTiming[],
  keyOf: (timing: StepTiming) => Key,
): Map<Key, StepTiming[]> {
  const groups = new Map<Key, StepTiming[]>();
  for (const timing of timings) {
    const group = groups.get(keyOf(timing));
    if (group) group.push(timing);
    else groups.set(keyOf(timing), [timing]);
  }
  return groups;
}

/**
 * The JSON form of Chrome's trace event format, which ui.perfetto.dev opens: complete events, in microseconds. Perfetto
 * counts whole nanoseconds, in which an event that ends one later than the event around it is misplaced: both ends are
 * rounded to them here.
 */
export function chromeTrace(timings: readonly StepTiming[], title: string): unknown {
  const origin = timings[0].start;
  const nanoseconds = (time: number) => Math.round(1000 * (time - origin));
  const track = { pid: 1, tid: 1 };
  const complete = (name: string, cat: string, first: StepTiming, last: StepTiming) => {
    const [start, end] = [nanoseconds(first.start), nanoseconds(last.start + last.duration)];
    return { name, cat, ph: 'X', ...track, ts: start / 1000, dur: (end - start) / 1000 };
  };
  const metadata = [
    { name: 'process_name', ph: 'M', ...track, args: { name: 'gradamp' } },
    { name: 'thread_name', ph: 'M', ...track, args: { name: title } },
  ];
  const steps = [...groupBy(timings, ({ step }) => step)].map(([step, group]) => ({
    ...complete(`step ${step + 1}`, 'step', group[0], group[group.length - 1]),
    args: {},
  }));
  const operations = timings.map((timing) => {
    const { name, op, layer, phase } = timing;
    return { ...complete(name, phase, timing, timing), args: { op, phase, ...(layer && { layer }) } };
  });
  return { traceEvents: [...metadata, ...steps, ...operations], displayTimeUnit: 'ms' };
}

/** @throws UsageError where it cannot be written. */
export function writeTrace(file: string, trace: unknown): void {
  try {
    writeFileSync(file, JSON.stringify(trace));
  } catch (error) {
    throw new UsageError(
      `--profile: expected a file that can be written, got ${file}: ${(error as Error).message}`,
    );
  }
}
