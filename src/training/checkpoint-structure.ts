// What stands in a checkpoint of version 2: checked in a file that is whole, but may be of another program.

import { z } from 'zod';
import type { MeasuredLayer, Selection } from '../amplification/selection.ts';
import type { StepTotals } from '../engines/engine.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { EpochMetrics, EpochTimings } from './metrics.ts';
import type { RunProgress } from './run-state.ts';

/** The message is one line that says which entry is not as it should be. */
export class StructureError extends Error {
  override readonly name = 'StructureError';
}

/** A checkpoint as it is in the file: vectors are bytes. */
export interface PackedCheckpoint extends Omit<Checkpoint, 'vectors'> {
  readonly vectors: {
    readonly weights: Uint8Array;
    readonly velocity: Uint8Array;
    readonly statistics: readonly Uint8Array[];
    readonly accumulators?: { readonly S: Uint8Array; readonly A: Uint8Array };
  };
  readonly checksum: Uint8Array;
}

// Not finite ones too: of a run that diverges.
const number = z.custom<number>((value) => typeof value === 'number', 'expected a number');
const count = z.int('expected a whole number').min(0, 'expected a whole number of at least 0');
const text = z.string('expected a string');
const flag = z.boolean('expected true or false');
/** A word that is only recorded. */
const word = <Word extends string>() =>
  z.custom<Word>((value) => typeof value === 'string', 'expected a string');
/** Other fields than these are taken too. */
const map = <Shape extends z.core.$ZodLooseShape>(shape: Shape) => z.object(shape, 'expected a map');
const closedMap = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys' ? `expected only ${Object.keys(shape).join(', ')}` : 'expected a map',
  });
/** Stops at the first element that is wrong: there may be millions, and zod keeps an issue of each. */
const list = <Element extends z.ZodType>(element: Element) =>
  z.array(z.custom<z.output<Element>>(), 'expected an array').check(({ value, issues }) => {
    for (const [index, one] of value.entries()) {
      const [issue] = element.safeParse(one).error?.issues ?? [];
      if (!issue) continue;
      issues.push({ code: 'custom', input: one, path: [index, ...issue.path], message: issue.message });
      return;
    }
  });

const metrics: z.ZodType<EpochMetrics> = map({
  epoch: count,
  phase: count,
  learningRate: number,
  analysed: flag,
  amplified: list(text),
  reduced: list(text),
  skippedSteps: count,
  trainLoss: number.nullable(),
  trainAccuracy: number.nullable(),
  validationLoss: number.nullable(),
  validationAccuracy: number.nullable(),
  testLoss: number.nullable(),
  testAccuracy: number.nullable(),
});

const timings: z.ZodType<EpochTimings> = map({ epoch: count, seconds: number, imagesPerSecond: number });

const selection: z.ZodType<Selection> = map({
  epoch: count,
  measure: word<Selection['measure']>(),
  case: z.custom<Selection['case']>((value) => value === 1 || value === 2, 'expected 1 or 2'),
  threshold: number,
  selection: word<Selection['selection']>(),
  ratio: number.optional(),
  score: word<Selection['score']>(),
  deviation: word<Selection['deviation']>(),
  pooling: word<Selection['pooling']>(),
  response: word<Selection['response']>(),
  iterations: count,
  noiseFloor: number,
  layers: list(
    map({
      name: text,
      kind: text,
      size: count,
      G: number,
      Gprime: number,
      z: number,
      standardError: number,
      chosen: flag,
      factor: number,
    }),
  ),
  degenerate: text.optional(),
});

const measured: z.ZodType<MeasuredLayer> = map({
  name: text,
  kind: text,
  sums: map({ netSum: number, totalSum: number, ratioSum: number, size: count, dead: count }),
});

const totals: z.ZodType<StepTotals> = map({
  lossSum: number,
  correct: count,
  samples: count,
  iterations: count,
  skipped: count,
  skippedInARow: count,
  waitedMilliseconds: number.optional(),
});

const progress: z.ZodType<RunProgress> = map({
  history: list(metrics),
  timings: list(timings),
  selections: list(selection),
  measured: list(measured),
  step: count,
  totals: list(totals),
  trainingSeconds: number,
  epochSeconds: number,
  seconds: number,
  engine: text,
});

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'expected bytes');
const vector = bytes.refine(({ byteLength }) => byteLength % 4 === 0, 'expected whole numbers of 4 bytes');

const checkpoint: z.ZodType<PackedCheckpoint> = closedMap({
  format: z.literal('gradamp-checkpoint', 'expected gradamp-checkpoint'),
  version: z.literal(2, 'expected 2'),
  config: text,
  configHash: text,
  trainedOn: map({
    normalisation: map({ mean: list(number), std: list(number) }),
    labels: text,
  }),
  progress,
  vectors: closedMap({
    weights: vector,
    velocity: vector,
    statistics: list(vector).min(1, 'expected one vector or more'),
    accumulators: closedMap({ S: vector, A: vector }).optional(),
  }),
  checksum: bytes,
});

/**
 * Fields of `progress` that nobody has heard of stay.
 * @returns what was given, entries in their order.
 * @throws StructureError
 */
export function checkStructure(content: unknown): PackedCheckpoint {
  const { success, error } = checkpoint.safeParse(content);
  if (!success) {
    const [{ path, message }] = error.issues;
    throw new StructureError(`${path.join('.') || 'the map'}: ${message}`);
  }
  const packed = content as PackedCheckpoint;
  checkProgress(packed.progress);
  checkVectors(packed);
  return packed;
}

function checkProgress({ history, timings }: RunProgress): void {
  if (timings.length !== history.length) {
    throw new StructureError(
      `progress.timings: expected ${history.length}, as many as epochs, got ${timings.length}`,
    );
  }
  for (const [index, { epoch }] of history.entries()) {
    if (epoch === index + 1 && timings[index].epoch === epoch) continue;
    throw new StructureError(`progress.history: expected epoch ${index + 1} in place ${index}, got ${epoch}`);
  }
}

/** That those laid out alike are of one length, and those by rank of one number. */
function checkVectors({ progress: { totals }, vectors }: PackedCheckpoint): void {
  const { weights, velocity, statistics, accumulators } = vectors;
  const parameters = { velocity, ...(accumulators && { S: accumulators.S, A: accumulators.A }) };
  for (const [name, { byteLength }] of Object.entries(parameters)) {
    if (byteLength === weights.byteLength) continue;
    throw new StructureError(
      `vectors: expected ${name} of ${weights.byteLength} bytes, as weights, got ${byteLength}`,
    );
  }
  if (statistics.some(({ byteLength }) => byteLength !== statistics[0].byteLength)) {
    throw new StructureError('vectors.statistics: expected vectors of one length');
  }
  if (statistics.length > 1 && totals.length > 0 && statistics.length !== totals.length) {
    throw new StructureError(
      `vectors.statistics: expected 1 or ${totals.length}, as many as totals, got ${statistics.length}`,
    );
  }
}
