// A path that computes something else may be as fast as it likes: before they are timed, both sides compute the
// gradient of the same small batch with the same weights, and the two are compared.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Config } from '../src/config/schema.ts';
import { buildModel } from '../src/models/index.ts';
import { initialParameters } from '../src/models/initialise.ts';
import { graphOf } from './measured.ts';
import { type Command, nodeCommand, SubjectError } from './subject.ts';
import { CLASSES, noiseSplit } from './synthetic-data.ts';

const BATCH = 8;
/** Of the narrowest convolution: fewer crash torch 1.13 (double free in a 1x1 convolution of stride 2, channels_last). */
const CHANNELS = 8;
/**
 * Another model, or another loss, is off by more than 1. Rounding alone moves the gradient of a deep network by 1e-2
 * where it decides a ReLU.
 */
const LARGEST_DIFFERENCE = 0.1;

/** What a program that writes a gradient is given, beside the model. */
export interface GradientSetup {
  /** Holds weights.f32, images.u8 and labels.u8; gradient.f32 is written there. */
  readonly folder: string;
  readonly width: number;
  readonly batch: number;
  /** Length of the flat vector, padding included. */
  readonly length: number;
  readonly layout: readonly { readonly name: string; readonly offset: number }[];
}

/**
 * @param peer the other side's name.
 * @param theirs the command of the other side.
 * @returns |ours - theirs| / |theirs| of the gradients.
 * @throws SubjectError where a side fails; Error where they are too far apart.
 */
export async function checkGradient(
  config: Config,
  peer: string,
  theirs: (setup: GradientSetup & Record<string, unknown>) => Command,
): Promise<number> {
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
    const [ours, other] = [
      await gradientOf('gradamp', nodeCommand('gradient-process', 'gradamp', config, setup), folder),
      await gradientOf(peer, theirs({ ...setup }), folder),
    ];
    const difference = relativeDifference(ours, other);
    if (difference <= LARGEST_DIFFERENCE) return difference;
    throw new Error(
      `expected gradients that differ by at most ${LARGEST_DIFFERENCE} at batch ${BATCH} and width ${width}, got ` +
        `${difference.toExponential(1)}: no comparison`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function gradientOf(
  side: string,
  { program, arguments: parameters, environment }: Command,
  folder: string,
): Promise<Float32Array> {
  try {
    await promisify(execFile)(program, parameters, { env: { ...process.env, ...environment } });
  } catch (error) {
    const { stderr, signal, code } = error as { stderr?: string; signal?: string; code?: number | string };
    const [last] = stderr?.trim().split('\n').slice(-1) ?? [];
    const end = signal ? `ended by ${signal}` : `ended with exit code ${code}`;
    throw new SubjectError(side, `computing a gradient, ${end}${last ? `: ${last}` : ''}`);
  }
  const { buffer } = Uint8Array.from(readFileSync(join(folder, 'gradient.f32')));
  return new Float32Array(buffer);
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
