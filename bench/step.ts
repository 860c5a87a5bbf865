// `gradamp bench step`: the time of one training step (gradient of one batch) on one thread, alone or in pairs with
// the plain wasm path.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { ModelName } from '../src/config/schema.ts';
import { engineMemoryLimit } from '../src/engines/index.ts';
import { UsageError } from '../src/errors.ts';
import type { Graph } from '../src/models/graph.ts';
import { buildModel } from '../src/models/index.ts';
import { estimatePassBytes, trainingFlops } from '../src/models/summary.ts';
import { PLAIN_SUBSTITUTE } from './plain-replica.ts';

export interface StepOptions {
  readonly model: ModelName;
  readonly width: number;
  readonly batch: number;
  readonly backend: 'wasm' | 'cpu';
  readonly pairs: number;
  readonly against?: 'plain';
}

const WARM_UP_STEPS = 2;
/** Gradients are compared on a small case: in a large one a ReLU that rounding decides moves them by 1e-3 and more. */
export const CHECKED_BATCH = 2;
export const CHECKED_WIDTH = 1 / 16;
const LARGEST_DIFFERENCE = 1e-4;

/** What a process of step-process.ts is started with. */
export interface StepSetup extends Omit<StepOptions, 'pairs' | 'against'> {
  readonly variant: 'gradamp' | 'plain';
}

/** What it is asked for: a step of the batch that is timed, or the gradient of a small one. */
export type Request = 'step' | 'gradient';

export type Answer =
  | {
      readonly kind: 'step';
      readonly milliseconds: number;
      readonly peakBytes: number;
      readonly heapBytes: number;
    }
  | { readonly kind: 'gradient'; readonly gradient: Float32Array }
  | { readonly kind: 'error'; readonly message: string };

type StepAnswer = Extract<Answer, { kind: 'step' }>;

export interface VariantResult {
  readonly milliseconds: readonly number[];
  readonly medianMilliseconds: number;
  readonly imagesPerSecond: number;
  /** Of the convolutions and linear layers: three times two operations a multiply-add. */
  readonly gflops: number;
  /** Largest resident set of the process. */
  readonly peakBytes: number;
  readonly heapBytes: number;
}

export interface StepResult extends StepOptions {
  readonly device: string;
  readonly node: string;
  readonly tfjs: string;
  readonly gradamp: VariantResult;
  readonly plain?: VariantResult & { readonly note: string };
  /** Of plain time / gradamp time, over the pairs. */
  readonly ratio?: { readonly median: number; readonly smallest: number; readonly largest: number };
  /** |gradamp - plain| / |plain| of the gradients at CHECKED_BATCH and at most CHECKED_WIDTH. */
  readonly gradientDifference?: number;
}

/**
 * @param report called after each pair with a line of progress.
 * @throws UsageError where the batch does not fit; Error where the two paths do not compute the same gradient.
 */
export async function benchStep(options: StepOptions, report: (line: string) => void): Promise<StepResult> {
  const { model, width, batch, backend, pairs, against } = options;
  const graph = buildModel({ name: model, width, classes: 10 });
  checkMemory(graph, options);
  const variants = against ? (['gradamp', 'plain'] as const) : (['gradamp'] as const);
  const processes = variants.map((variant) => start({ variant, model, width, batch, backend }));
  try {
    const gradientDifference = against && (await compareGradients(processes));
    // Outside the clock: compilation, growth of the heap.
    for (let i = 0; i < WARM_UP_STEPS; i++) for (const child of processes) await child.step();
    const answers: StepAnswer[][] = [];
    for (let pair = 0; pair < pairs; pair++) {
      const answer: StepAnswer[] = [];
      // The other one first in every second pair: a step may leave the machine warmer, or slower, than it found it.
      const order = pair % 2 === 0 ? [...processes.keys()] : [...processes.keys()].reverse();
      for (const i of order) answer[i] = await processes[i].step();
      answers.push(answer);
      const times = answer.map(({ milliseconds }, i) => `${variants[i]} ${milliseconds.toFixed(0)} ms`);
      report(`step ${pair + 1} of ${pairs}: ${times.join(', ')}`);
    }
    const flops = trainingFlops(graph) * batch;
    const [gradamp, plain] = variants.map((_, i) =>
      summarise(
        answers.map((answer) => answer[i]),
        batch,
        flops,
      ),
    );
    const ratios = answers.map(([ours, theirs]) => theirs?.milliseconds / ours.milliseconds);
    const { version } = createRequire(import.meta.url)('@tensorflow/tfjs-core/package.json') as {
      version: string;
    };
    return {
      ...options,
      device: `1 thread of ${cpus().length} x ${cpus()[0].model}`,
      node: process.version,
      tfjs: version,
      gradamp,
      ...(plain && {
        plain: { ...plain, note: PLAIN_SUBSTITUTE },
        ratio: { median: median(ratios), smallest: Math.min(...ratios), largest: Math.max(...ratios) },
        gradientDifference,
      }),
    };
  } finally {
    for (const child of processes) child.end();
  }
}

function checkMemory(graph: Graph, { model, width, batch, backend }: StepOptions): void {
  const [needed, limit] = [estimatePassBytes(graph, batch), engineMemoryLimit({ engine: 'tfjs', backend })];
  if (limit === undefined || needed <= limit) return;
  const gibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new UsageError(
    `--batch: expected one that fits into the ${gibibytes(limit)} of backend ${backend}, got ${batch}, which needs about ` +
      `${gibibytes(needed)} with ${model}, width ${width}`,
  );
}

interface StepProcess {
  step(): Promise<StepAnswer>;
  gradient(): Promise<Float32Array>;
  end(): void;
}

function start(setup: StepSetup): StepProcess {
  const script = fileURLToPath(new URL('./step-process.js', import.meta.url));
  const child = fork(script, [JSON.stringify(setup)], { serialization: 'advanced' });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the process of ${setup.variant} ended with code ${code}`);
  });
  // Of interest only while an answer is awaited.
  ended.catch(() => {});
  async function ask<K extends Request>(request: K): Promise<Extract<Answer, { kind: K }>> {
    child.send(request);
    const [answer] = (await Promise.race([once(child, 'message'), ended])) as [Answer];
    if (answer.kind === 'error') throw new Error(`${setup.variant}: ${answer.message}`);
    return answer as Extract<Answer, { kind: K }>;
  }
  return {
    step: () => ask('step'),
    gradient: async () => (await ask('gradient')).gradient,
    end: () => child.kill(),
  };
}

/** A path that computes something else may be as fast as it likes. */
async function compareGradients([ours, theirs]: readonly StepProcess[]): Promise<number> {
  const difference = relativeDifference(await ours.gradient(), await theirs.gradient());
  if (!(difference <= LARGEST_DIFFERENCE)) {
    throw new Error(
      `expected gradients that differ by at most ${LARGEST_DIFFERENCE} at batch ${CHECKED_BATCH} and width ${CHECKED_WIDTH}, got ${difference.toExponential(1)}: no comparison`,
    );
  }
  return difference;
}

function summarise(answers: readonly StepAnswer[], batch: number, flops: number): VariantResult {
  const milliseconds = answers.map((answer) => answer.milliseconds);
  const medianMilliseconds = median(milliseconds);
  return {
    milliseconds,
    medianMilliseconds,
    imagesPerSecond: (1000 * batch) / medianMilliseconds,
    gflops: flops / medianMilliseconds / 1e6,
    peakBytes: Math.max(...answers.map((answer) => answer.peakBytes)),
    heapBytes: Math.max(...answers.map((answer) => answer.heapBytes)),
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** |a - b| / |b| */
function relativeDifference(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}
