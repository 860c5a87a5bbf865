// A path that computes something else may be as fast as it likes: before they are timed, both sides compute the
// gradient of the same small batch with the same weights, and the two are compared.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Config, Precision } from '../src/config/schema.ts';
import type { Graph } from '../src/models/graph.ts';
import { buildModel } from '../src/models/index.ts';
import { initialParameters } from '../src/models/initialise.ts';
import { graphOf } from './measured.ts';
import { type Command, nodeCommand, SubjectError } from './subject.ts';
import { CLASSES, noiseSplit } from './synthetic-data.ts';

/** With fewer, batch norm makes a deep network's last layer so sensitive that bfloat16 moves its gradient by half. */
export const BATCH = 32;
/** Of the narrowest convolution: fewer crash torch 1.13 (double free in a 1x1 convolution of stride 2, channels_last). */
const CHANNELS = 8;
/**
 * In float32. Another model, or another loss, is off by more than 1. Rounding alone moves the gradient of a deep network
 * by 1e-2 where it decides a ReLU.
 */
const LARGEST_DIFFERENCE = 0.1;
/**
 * Distance from float64 that is fine in any case. In float32, of the whole gradient: that of a few ReLUs that rounding
 * decided, 1e-6 or 5e-2 as it happens. In a reduced precision, of the last layer: PyTorch's in bfloat16 on a CPU is off by
 * 6e-3 for resnet8, 2e-2 for resnet18, 0.13 for resnet50 and 0.25 for resnet101 (torch 2.11), while as a whole it is off by
 * 0.1, 0.3, 1.2 and 1.3.
 */
const ALWAYS_FINE: Readonly<Record<Precision, number>> = { float32: 5e-2, tf32: 1e-2, bfloat16: 5e-2 };
/** Two ways to round are as far from float64 as each other, give or take what chance decides. */
const LARGEST_ERROR_RATIO = 2;
/** However far the peer's is: zeros are off by 1, another order of the same values by 1.4, the other sign by 2. */
const LARGEST_ERROR = 0.5;

/** `float64` is a peer's alone, on its CPU. */
export type GradientPrecision = Precision | 'float64';

/** What a program that writes gradients is given, beside the model. */
export interface GradientSetup {
  /** Holds weights.f32, images.u8 and labels.u8. */
  readonly folder: string;
  /** Where gradient-<precision>.f32 are written: each side has one of its own. */
  readonly output: string;
  readonly precisions: readonly GradientPrecision[];
  readonly width: number;
  readonly batch: number;
  /** Length of the flat vector, padding included. */
  readonly length: number;
  readonly layout: readonly { readonly name: string; readonly offset: number }[];
}

/** Distances |a - b| / |b| of gradients. */
export interface GradientAgreement {
  /** Of ours and theirs, both in float32. */
  readonly difference: number;
  /** In the precision that is measured; null where that is float32. */
  readonly errors: GradientErrors | null;
}

interface Errors {
  readonly ours: number;
  readonly theirs: number;
}

/**
 * Distances from float64: in float32 of the whole gradient. In a reduced precision of the last layer's, which depends on
 * the whole forward pass and the loss: further back, rounding decides so many ReLUs that nothing could be told from them.
 */
export interface GradientErrors extends Errors {
  /** Of the whole gradient in any precision; for information where it is a reduced one. */
  readonly whole: Errors;
}

/** Where parameters lie in the flat vector. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** The gradients of one side, by precision. */
export type Gradients = ReadonlyMap<GradientPrecision, Float32Array>;

/**
 * @param peer the other side's name.
 * @param theirs the command of the other side.
 * @throws SubjectError where a side fails; Error where they are too far apart.
 */
export async function checkGradient(
  config: Config,
  peer: string,
  theirs: (setup: GradientSetup & Record<string, unknown>) => Command,
): Promise<GradientAgreement> {
  const precision: Precision = config.precision;
  const reduced = precision !== 'float32';
  const own: readonly Precision[] = reduced ? ['float32', precision] : ['float32'];
  const gradients = await gradientsOfBoth(config, peer, theirs, {
    ours: own,
    theirs: reduced ? [...own, 'float64'] : own,
  });
  const { width, ours, other, lastLayer } = gradients;
  const difference = relativeDifference(ours.get('float32')!, other.get('float32')!);
  // Nobody else adds up in our order.
  if (difference === 0) throw new Error('expected two gradients, got one that was compared with itself');
  if (!(difference <= LARGEST_DIFFERENCE)) {
    throw new Error(
      `expected gradients that differ by at most ${LARGEST_DIFFERENCE} at batch ${BATCH} and width ${width}, got ` +
        `${difference.toExponential(1)}: no comparison`,
    );
  }
  if (!reduced) return { difference, errors: null };
  const errors = errorsOf(precision, ours, other, lastLayer);
  if (!isFine(precision, errors)) {
    throw new Error(
      `expected a ${precision} gradient of the last layer no further from float64 than ` +
        `${largestError(precision, errors).toExponential(1)}, got ${errors.ours.toExponential(1)}: no comparison`,
    );
  }
  return { difference, errors };
}

/** Of the gradients in a precision, from the peer's in float64. */
export function errorsOf(
  precision: Precision,
  ours: Gradients,
  theirs: Gradients,
  lastLayer: Range,
): GradientErrors {
  const reference = theirs.get('float64')!;
  const errorsIn = ({ start, end }: Range): Errors => {
    const error = (gradients: Gradients) =>
      relativeDifference(gradients.get(precision)!.subarray(start, end), reference.subarray(start, end));
    return { ours: error(ours), theirs: error(theirs) };
  };
  const whole = errorsIn({ start: 0, end: reference.length });
  return { ...(precision === 'float32' ? whole : errorsIn(lastLayer)), whole };
}

export const largestError = (precision: Precision, { theirs }: Errors): number =>
  Math.min(LARGEST_ERROR, Math.max(ALWAYS_FINE[precision], LARGEST_ERROR_RATIO * theirs));

export const isFine = (precision: Precision, errors: Errors): boolean =>
  errors.ours <= largestError(precision, errors);

/**
 * The gradients of both sides for one narrow model.
 * @throws SubjectError where a side fails.
 */
export async function gradientsOfBoth(
  config: Config,
  peer: string,
  theirs: (setup: GradientSetup & Record<string, unknown>) => Command,
  precisions: { readonly ours: readonly Precision[]; readonly theirs: readonly GradientPrecision[] },
): Promise<{ width: number; ours: Gradients; other: Gradients; lastLayer: Range }> {
  const { name } = config.model;
  const stem = buildModel({ name, width: 1, classes: CLASSES }).layers[0].parameters[0].shape[0];
  const width = Math.min(config.model.width, CHANNELS / stem);
  const graph = graphOf({ ...config, model: { name, width } });
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-gradient-'));
  try {
    const { images, labels } = noiseSplit(BATCH);
    writeFileSync(join(folder, 'weights.f32'), initialParameters(graph, 0));
    writeFileSync(join(folder, 'images.u8'), images);
    writeFileSync(join(folder, 'labels.u8'), labels);
    const layout = graph.layers.flatMap(({ parameters }) =>
      parameters.map(({ name, offset }) => ({ name, offset })),
    );
    const setup = { folder, width, batch: BATCH, length: graph.parameterLength, layout };
    const output = (side: string) => mkdtempSync(join(folder, side));
    const ourSetup: GradientSetup = { ...setup, output: output('ours'), precisions: precisions.ours };
    const command = nodeCommand('gradient-process', 'gradamp', config, ourSetup);
    const theirSetup: GradientSetup = { ...setup, output: output('theirs'), precisions: precisions.theirs };
    // Together: each takes longest to load its library. Both have ended before the folder goes.
    const sides = [
      gradientsOf('gradamp', command, ourSetup),
      gradientsOf(peer, theirs({ ...theirSetup }), theirSetup),
    ];
    await Promise.allSettled(sides);
    const [ours, other] = await Promise.all(sides);
    return { width, ours, other, lastLayer: lastLayerOf(graph) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The linear one; weight and bias lie next to each other. */
export function lastLayerOf({ layers }: Graph): Range {
  const { parameters } = layers[layers.length - 1];
  const { offset, size } = parameters[parameters.length - 1];
  return { start: parameters[0].offset, end: offset + size };
}

async function gradientsOf(
  side: string,
  { program, arguments: parameters, environment }: Command,
  { output, precisions }: GradientSetup,
): Promise<Gradients> {
  try {
    await promisify(execFile)(program, parameters, { env: { ...process.env, ...environment } });
  } catch (error) {
    const { stderr, signal, code } = error as { stderr?: string; signal?: string; code?: number | string };
    const [last] = stderr?.trim().split('\n').slice(-1) ?? [];
    const end = signal ? `ended by ${signal}` : `ended with exit code ${code}`;
    throw new SubjectError(side, `computing a gradient, ${end}${last ? `: ${last}` : ''}`);
  }
  return new Map(
    precisions.map((precision) => {
      const { buffer } = Uint8Array.from(readFileSync(join(output, `gradient-${precision}.f32`)));
      return [precision, new Float32Array(buffer)] as const;
    }),
  );
}

/** |a - b| / |b| */
export function relativeDifference(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}
