// The config: its keys, types, ranges and defaults. No files here.

import { z } from 'zod';
import { problemsBetweenKeys } from './constraints.ts';
import { expected, expectedKeys } from './messages.ts';
import type { Seeds } from './seeds.ts';

/** What `models/` can build. */
export const MODEL_NAMES = [
  'vgg19',
  'resnet18',
  'resnet34',
  'resnet50',
  'resnet101',
  'resnet8',
  'resnet20',
] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

/** A stretch of epochs with one learning rate; it starts after the end of the one before it. */
export interface Phase {
  /** Last epoch of the phase, counted from 1. */
  readonly endEpoch: number;
  readonly learningRate: number;
  /** Whether layers are analysed and amplified in this phase. */
  readonly amplify: boolean;
  /** What the gradients of the chosen layers are multiplied by. */
  readonly factor: number;
}

/** See src/training/learning-rate.ts. */
export interface LearningRateCurve {
  readonly policy: 'cosine' | 'one-cycle';
  readonly peak: number;
  /** Epochs until the peak; a fraction of one is allowed. */
  readonly warmup: number;
  readonly start?: number;
  readonly final?: number;
}

/** How layers are chosen; see the paper's eqs. (4), (7) and Algorithm 1. */
export interface AmplificationSettings {
  /** The directionality ratio G, eq. (4), or the improved one, eq. (7). */
  readonly measure: 'G' | 'Gprime';
  /** 1: z > threshold. 2: |z| > threshold. */
  readonly case: 1 | 2;
  readonly threshold: number;
  /** Choose once a phase, or again every K epochs. */
  readonly reselect: 'phase' | number;
  /** Which layers are taken, given what the case would take; see src/amplification/selection.ts. */
  readonly selection: 'threshold' | 'random' | 'inverted' | 'all';
  /** Of a random selection: the share of the candidates, 0..1; without it as many as the case would take. */
  readonly ratio?: number;
  /** What z standardises: the measure, or its distance from the noise floor in standard errors. */
  readonly score: 'value' | 'significance';
  readonly deviation: 'population' | 'sample';
  readonly candidates: readonly LayerKind[];
  /** Weight and bias of a layer as one value, the weight's alone, or every tensor by itself. */
  readonly pooling: 'layer' | 'weight' | 'tensor';
  /** Whether biases of convolutions in front of a batch norm are measured. */
  readonly normalisedBiases: boolean;
  readonly countDeadWeights: boolean;
  /** Whether the measures see the gradient with weight decay added. */
  readonly measureWeightDecay: boolean;
  /** What is multiplied: the weight gradient, the learning rate, or the gradient that arrives at a layer's output. */
  readonly apply: 'gradient' | 'learning-rate' | 'backpropagated';
  /** By what: the phase's factor; 0; or a factor from each layer's z; see src/amplification/response.ts. */
  readonly response: 'amplify' | 'freeze' | 'continuous';
}

export type LayerKind = (typeof LAYER_KINDS)[number];

export type Precision = (typeof PRECISIONS)[number];

/** A checked config with every default filled in. */
export interface Config {
  /** The run's name; without one, the caller makes it from the config's file. */
  readonly name?: string;
  readonly model: { readonly name: ModelName; readonly width: number };
  readonly dataset: 'cifar10' | 'cifar100';
  readonly dataDir: string;
  /** Training images held out to choose the best epoch by; 0: none. */
  readonly validation: number;
  readonly engine: 'auto' | 'torch' | 'tfjs';
  /** Of the engine tfjs. */
  readonly backend: 'wasm' | 'cpu' | 'tensorflow';
  /** One worker each: `cpu` or `cuda:<n>`. */
  readonly devices: readonly string[];
  /** Of the engine torch on cpu: threads of one worker's operations; without it the processors are shared evenly. */
  readonly threads?: number;
  /** Of convolutions and linear layers on the device, and, with bfloat16, of what is stored between layers. */
  readonly precision: Precision;
  /** Of GPUs: whether a step is recorded once and then replayed; `auto`: where the engine can. */
  readonly cudaGraph: 'auto' | 'on' | 'off';
  /** How gradients of several GPUs come together; see src/parallel/collective.ts. */
  readonly collective: 'auto' | 'nccl' | 'shared-memory';
  /** Whether only engines may run that give the same bits for the same config on the same machine. */
  readonly deterministic: boolean;
  /** Images a step, over all workers. */
  readonly batchSize: number;
  /** Images a pass; batch norm takes its statistics over a pass. */
  readonly microBatch?: number;
  /** Whether batch norm takes its statistics over the shares of all workers. */
  readonly syncBatchNorm: boolean;
  /** Batches whose gradients are averaged for one optimizer step. */
  readonly accumulate: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  /** Whether the momentum buffer starts from 0 at each phase. */
  readonly resetMomentum: boolean;
  readonly weightDecay: number;
  /** Largest Euclidean norm of the reduced gradient; without it no clipping. */
  readonly clipNorm?: number;
  /** Layer-wise adaptive rates; see src/training/lars.ts. */
  readonly lars?: { readonly trust: number; readonly epsilon: number };
  /** Share of the target that is spread evenly over the classes: 0..1, below 1. */
  readonly labelSmoothing: number;
  readonly schedule: readonly Phase[];
  /** Where the rates come from: the phases, or a curve over the run in their place. */
  readonly learningRate: 'phases' | LearningRateCurve;
  readonly amplification: AmplificationSettings | 'none';
  /** Of what `seeds` does not give by itself. */
  readonly seed: number;
  readonly seeds: Seeds;
  /** First and last optimizer step, counted from 1, whose reduced gradients are written to the run's folder. */
  readonly dumpGradients?: readonly [first: number, last: number];
  /** A safetensors file of weights and running statistics to start from, in place of drawn ones. */
  readonly init?: string;
  /** When checkpoints are written, and how many stay. */
  readonly checkpoint: CheckpointSettings;
  /** Whether a run that its folder holds, and that is not complete, is gone on with. */
  readonly resume: 'never' | 'auto';
  /** How often a run that fails is started again from its last checkpoint. */
  readonly restarts: number;
  /** Seconds that workers wait for one of them, or for a step, before it counts as hung. */
  readonly barrierTimeout: number;
  /** Steps in a row that may be skipped for a gradient that is not finite, before the run ends. */
  readonly skipLimit: number;
}

export interface CheckpointSettings {
  readonly everyEpochs: number;
  /** Inside an epoch; never: only at the end of epochs. */
  readonly everyMinutes: number | 'never';
  /** The newest that stay, the last included. */
  readonly keep: number;
}

export const DATASET_NAMES = ['cifar10', 'cifar100'] as const;
const ENGINES = ['auto', 'torch', 'tfjs'] as const;
const BACKENDS = ['wasm', 'cpu', 'tensorflow'] as const;
export const PRECISIONS = ['float32', 'tf32', 'bfloat16'] as const;
const GRAPH_MODES = ['auto', 'on', 'off'] as const;
const COLLECTIVES = ['auto', 'nccl', 'shared-memory'] as const;
const MEASURES = ['G', 'Gprime'] as const;
const POLICIES = ['cosine', 'one-cycle'] as const;
const SELECTIONS = ['threshold', 'random', 'inverted', 'all'] as const;
const SCORES = ['value', 'significance'] as const;
const DEVIATIONS = ['population', 'sample'] as const;
const POOLINGS = ['layer', 'weight', 'tensor'] as const;
const APPLICATIONS = ['gradient', 'learning-rate', 'backpropagated'] as const;
const RESUMES = ['never', 'auto'] as const;
const RESPONSES = ['amplify', 'freeze', 'continuous'] as const;
export const LAYER_KINDS = ['conv2d', 'batchNorm', 'linear'] as const;
const SEED_LIMIT = 2 ** 32 - 1;

/** More than anybody waits for: a number of another kind, mistyped. What a run plans and draws is kept for every epoch. */
const LARGEST_EPOCH = 10_000;

const SCHEDULE_FORM = 'a list of [end epoch, learning rate, amplify, factor]';
const PHASE_FORM = '[end epoch, learning rate, amplify, factor]';

const listed = (names: readonly string[]) => `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;

/** true or false. */
const flag = () => z.boolean({ error: expected('true or false') });

/** A map with no other keys than these. */
function closedMap<Shape extends z.core.$ZodShape>(phrase: string, shape: Shape) {
  return z.strictObject(shape, { error: expectedKeys(phrase, Object.keys(shape)) });
}

/** The map that a file is; `extends` has been read before. */
function fileMap<Shape extends z.core.$ZodShape>(shape: Shape) {
  return z.strictObject(shape, { error: expectedKeys('a map of keys', [...Object.keys(shape), 'extends']) });
}

function oneOf<const Names extends readonly string[]>(names: Names) {
  return z.enum(names, { error: expected(listed(names), { names }) });
}

function wholeNumber(low: number, high = Number.MAX_SAFE_INTEGER) {
  const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
  const error = expected(`a whole number ${range}`);
  // -0 is 0: YAML has both, and a seed is compared.
  return z
    .int({ error })
    .min(low, { error })
    .max(high, { error })
    .overwrite((value) => value + 0);
}

function positiveNumber(what: string) {
  const error = expected(`${what} (a number above 0)`);
  return z.number({ error }).positive({ error });
}

/** Beyond this, a model's parameters would not fit any machine. */
export const LARGEST_WIDTH = 16;
const widthError = expected(`a width (a number above 0, at most ${LARGEST_WIDTH})`);
const width = z
  .number({ error: widthError })
  .positive({ error: widthError })
  .max(LARGEST_WIDTH, { error: widthError });

const model = z.union(
  [z.enum(MODEL_NAMES), closedMap('{ name, width }', { name: oneOf(MODEL_NAMES), width: width.default(1) })],
  {
    error: expected(`${MODEL_NAMES.join(', ')}, or { name, width }`, { names: MODEL_NAMES }),
  },
);

const phase = z.tuple(
  [wholeNumber(1, LARGEST_EPOCH), positiveNumber('a learning rate'), flag(), positiveNumber('a factor')],
  { error: expected(`a phase ${PHASE_FORM}`) },
);

const scheduleError = expected(SCHEDULE_FORM, {
  remedy: 'for example [[50, 0.1, false, 1], [100, 0.1, true, 2]]',
});
const schedule = z.array(phase, { error: scheduleError }).min(1, { error: scheduleError });

const reselectError = expected('phase or a whole number of epochs of at least 1', { names: ['phase'] });
const ratioError = expected('a share above 0 and at most 1');
const candidatesError = expected('a list of layer kinds', { remedy: 'for example [conv2d, linear]' });
const amplificationMap = closedMap('{ measure, case, threshold, reselect }', {
  measure: oneOf(MEASURES).default('G'),
  case: z.literal([1, 2], { error: expected('1 (z > threshold) or 2 (|z| > threshold)') }).default(1),
  threshold: z.number({ error: expected('a number') }).default(1.5),
  reselect: z
    .union([z.literal('phase'), z.int({ error: reselectError }).min(1, { error: reselectError })], {
      error: reselectError,
    })
    .default('phase'),
  selection: oneOf(SELECTIONS).default('threshold'),
  ratio: z
    .number({ error: ratioError })
    .positive({ error: ratioError })
    .max(1, { error: ratioError })
    .optional(),
  score: oneOf(SCORES).default('value'),
  deviation: oneOf(DEVIATIONS).default('population'),
  candidates: z
    .array(oneOf(LAYER_KINDS), { error: candidatesError })
    .min(1, { error: candidatesError })
    .default([...LAYER_KINDS]),
  pooling: oneOf(POOLINGS).default('layer'),
  normalisedBiases: flag().default(false),
  countDeadWeights: flag().default(true),
  measureWeightDecay: flag().default(false),
  apply: oneOf(APPLICATIONS).default('gradient'),
  response: oneOf(RESPONSES).default('amplify'),
});
const amplification = z.union([z.literal('none'), amplificationMap], {
  error: expected('{ measure, case, threshold, reselect } or none', { names: ['none'] }),
});

const rateError = expected('a learning rate (a number of at least 0)');
const rate = () => z.number({ error: rateError }).min(0, { error: rateError });
const warmupError = expected('a number of epochs of at least 0');
const learningRateMap = closedMap('{ policy, peak, warmup, start, final }', {
  policy: oneOf(POLICIES),
  peak: positiveNumber('a learning rate'),
  warmup: z.number({ error: warmupError }).min(0, { error: warmupError }).default(0),
  start: rate().optional(),
  final: rate().optional(),
});
const learningRate = z.union([z.literal('phases'), learningRateMap], {
  error: expected('phases or { policy, peak, warmup, start, final }', { names: ['phases'] }),
});

/** More than any machine has: a number of another kind, mistyped. */
const LARGEST_THREADS = 1024;
const device = z.string({ error: expected('cpu or cuda:<n>') }).regex(/^(cpu|cuda:(0|[1-9]\d*))$/, {
  error: expected('cpu or cuda:<n>', { names: ['cpu', 'cuda:0'] }),
});
const devicesError = expected('a list of devices', { remedy: 'for example [cpu, cpu]' });

const seed = wholeNumber(0, SEED_LIMIT);
const seeds = closedMap('{ weights, order, augmentation, selection, validation }', {
  weights: seed.optional(),
  order: seed.optional(),
  augmentation: seed.optional(),
  selection: seed.optional(),
  validation: seed.optional(),
});

const momentumError = expected('a number from 0 to below 1');
const labelSmoothingError = expected('a number from 0 to below 1');
const weightDecayError = expected('a number of at least 0');
const epsilonError = expected('a number of at least 0');
const nameError = expected('a name of letters, digits, dots, dashes and underscores');
const initError = expected('the path of a safetensors file');
/** A week: what a timer can wait for. */
const MOST_MINUTES = 10_080;
const everyMinutesError = expected(`never or minutes (a number above 0, at most ${MOST_MINUTES})`, {
  names: ['never'],
});
const everyMinutes = z
  .number({ error: everyMinutesError })
  .positive({ error: everyMinutesError })
  .max(MOST_MINUTES, { error: everyMinutesError });
const checkpoint = closedMap('{ everyEpochs, everyMinutes, keep }', {
  everyEpochs: wholeNumber(1).default(1),
  everyMinutes: z
    .union([z.literal('never'), everyMinutes], {
      error: everyMinutesError,
    })
    .default(10),
  keep: wholeNumber(1).default(2),
});
const dataDirError = expected('the path of a folder');

/** The config as users write it, with defaults filled in. */
export const documentSchema = fileMap({
  name: z
    .string({ error: nameError })
    .regex(/^\w[\w.-]{0,99}$/, { error: nameError })
    .optional(),
  model,
  dataset: oneOf(DATASET_NAMES),
  dataDir: z.string({ error: dataDirError }).min(1, { error: dataDirError }).optional(),
  validation: wholeNumber(0).default(0),
  engine: oneOf(ENGINES).default('auto'),
  backend: oneOf(BACKENDS).default('wasm'),
  devices: z.array(device, { error: devicesError }).min(1, { error: devicesError }).default(['cpu']),
  threads: wholeNumber(1, LARGEST_THREADS).optional(),
  precision: oneOf(PRECISIONS).default('float32'),
  cudaGraph: oneOf(GRAPH_MODES).default('auto'),
  collective: oneOf(COLLECTIVES).default('auto'),
  deterministic: flag().default(false),
  batchSize: wholeNumber(1).default(128),
  microBatch: wholeNumber(1).optional(),
  syncBatchNorm: flag().default(false),
  accumulate: wholeNumber(1).default(1),
  momentum: z
    .number({ error: momentumError })
    .min(0, { error: momentumError })
    .lt(1, { error: momentumError })
    .default(0.9),
  nesterov: flag().default(false),
  resetMomentum: flag().default(false),
  weightDecay: z.number({ error: weightDecayError }).min(0, { error: weightDecayError }).default(5e-4),
  clipNorm: positiveNumber('a norm').optional(),
  lars: closedMap('{ trust, epsilon }', {
    trust: positiveNumber('a trust coefficient').default(1e-3),
    epsilon: z.number({ error: epsilonError }).min(0, { error: epsilonError }).default(1e-8),
  }).optional(),
  labelSmoothing: z
    .number({ error: labelSmoothingError })
    .min(0, { error: labelSmoothingError })
    .lt(1, { error: labelSmoothingError })
    .default(0),
  schedule,
  learningRate: learningRate.default('phases'),
  amplification: amplification.prefault({}),
  seed: seed.default(0),
  seeds: seeds.optional(),
  dumpGradients: z
    .tuple([wholeNumber(1), wholeNumber(1)], { error: expected('[first step, last step]') })
    .optional(),
  init: z.string({ error: initError }).min(1, { error: initError }).optional(),
  checkpoint: checkpoint.prefault({}),
  resume: oneOf(RESUMES).default('never'),
  restarts: wholeNumber(0).default(0),
  barrierTimeout: positiveNumber('seconds').default(600),
  skipLimit: wholeNumber(1).default(25),
}).check(({ value, issues }) => {
  if (issues.length > 0) return;
  for (const problem of problemsBetweenKeys(value)) issues.push({ code: 'custom', input: value, ...problem });
});

export type ConfigDocument = z.output<typeof documentSchema>;
