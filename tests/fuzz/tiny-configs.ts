// Valid configs over all keys that are trained in a moment: tiny models, one or two steps an epoch, processors alone.

import fc from 'fast-check';
import { MODEL_NAMES } from '../../src/config/schema.ts';
import { isBuilt } from '../../src/engines/torch/load.ts';

export const IMAGES = { train: 34, test: 10 };

/** As a config file has it, without dataDir. */
export type TinyDocument = Readonly<Record<string, unknown>> & {
  readonly dataset: 'cifar10' | 'cifar100';
  readonly schedule: readonly Phase[];
  readonly model: TinyModel;
  /** Whether a file of weights is there to start from. */
  readonly init?: string;
};
type Phase = readonly [endEpoch: number, learningRate: number, amplify: boolean, factor: number];
interface TinyModel {
  readonly name: string;
  readonly width: number;
}

const small = fc.record({
  name: fc.constantFrom('resnet8', 'resnet20'),
  width: fc.constantFrom(0.01, 0.1, 0.25),
});
const deep = fc.record({ name: fc.constantFrom(...MODEL_NAMES), width: fc.constantFrom(0.01, 0.05) });
const model: fc.Arbitrary<TinyModel> = fc.oneof({ weight: 4, arbitrary: small }, deep);

const engines = [
  { weight: 2, arbitrary: fc.constant({ engine: 'tfjs', backend: 'wasm' }) },
  { weight: 1, arbitrary: fc.constant({ engine: 'auto', backend: 'wasm' }) },
  ...(isBuilt() ? [{ weight: 2, arbitrary: fc.constant({ engine: 'torch', backend: 'wasm' }) }] : []),
];

/** Mostly sensible, now and then far from it. */
const rate = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(0.1, 0.01) }, fc.constantFrom(1e-300, 3, 1e30));
const positive = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0.5, 1, 2, 3) },
  fc.constantFrom(1e-300, 1e-9, 1e9, 1e300),
);

const schedule = fc
  .record({
    ends: fc.subarray([1, 2, 3], { minLength: 1 }),
    phases: fc.array(fc.tuple(rate, fc.boolean(), positive), { minLength: 3, maxLength: 3 }),
  })
  .map(({ ends, phases }) => ends.map((end, i): Phase => [end, ...phases[i]]));

const amplification = fc
  .record(
    {
      measure: fc.constantFrom('G', 'Gprime'),
      case: fc.constantFrom(1, 2),
      threshold: fc.constantFrom(-1, 0, 0.3, 1, 1.5, 1e9),
      reselect: fc.constantFrom<'phase' | number>('phase', 1, 2),
      selection: fc.constantFrom('threshold', 'random', 'inverted', 'all'),
      ratio: fc.constantFrom(0.1, 0.5, 1),
      score: fc.constantFrom('value', 'significance'),
      deviation: fc.constantFrom('population', 'sample'),
      candidates: fc.subarray(['conv2d', 'batchNorm', 'linear'], { minLength: 1 }),
      pooling: fc.constantFrom('layer', 'weight', 'tensor'),
      normalisedBiases: fc.boolean(),
      countDeadWeights: fc.boolean(),
      measureWeightDecay: fc.boolean(),
      apply: fc.constantFrom('gradient', 'learning-rate', 'backpropagated'),
      response: fc.constantFrom('amplify', 'amplify', 'freeze', 'continuous'),
    },
    { requiredKeys: [] },
  )
  .map(withWhatItNeeds);

/** What does not go together is changed, as the errors of a config say. */
function withWhatItNeeds(settings: {
  readonly selection?: string;
  readonly ratio?: number;
  readonly threshold?: number;
  readonly apply?: string;
  readonly response?: string;
}): Readonly<Record<string, unknown>> {
  const { ratio, ...others } = settings;
  const fitting: Record<string, unknown> = others;
  if (settings.response === 'freeze') fitting.apply = 'learning-rate';
  if (settings.response === 'continuous') {
    fitting.selection = 'all';
    fitting.threshold = Math.abs(settings.threshold ?? 0) || 1;
    if (settings.apply === 'backpropagated') fitting.apply = 'gradient';
  }
  if (fitting.apply === 'backpropagated') {
    fitting.reselect = 'phase';
    fitting.pooling = 'layer';
  }
  return { ...fitting, ...(fitting.selection === 'random' && { ratio }) };
}

const learningRate = fc.oneof(
  { weight: 3, arbitrary: fc.constant('phases') },
  fc.record(
    {
      policy: fc.constant('cosine'),
      peak: rate,
      warmup: fc.constantFrom(0.3, 0.5),
      start: fc.constantFrom(0, 0.1),
      final: fc.constantFrom(0, 0.01),
    },
    { requiredKeys: ['policy', 'peak', 'warmup'] },
  ),
  fc.record({ policy: fc.constant('one-cycle'), peak: rate, warmup: fc.constantFrom(0.3, 0.9) }),
);

const seed = fc.nat({ max: 2 ** 32 - 1 });

/** One or two steps an epoch: 17 to 24 images each, of 34 or of the 24 that a validation leaves. */
const batches = fc
  .record({
    validation: fc.constantFrom(0, 0, 10),
    accumulate: fc.constantFrom(1, 1, 2, 3),
    perStep: fc.integer({ min: 17, max: 24 }),
    workers: fc.integer({ min: 1, max: 3 }),
    microBatch: fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
    syncBatchNorm: fc.boolean(),
  })
  .map(({ validation, accumulate, perStep, workers, microBatch, syncBatchNorm }) => {
    const batchSize = Math.floor(perStep / accumulate);
    // A pass for each worker.
    const most = workers > 1 ? Math.ceil(batchSize / (workers - 1)) - 1 : batchSize;
    return {
      ...{ validation, accumulate, batchSize, devices: Array<string>(workers).fill('cpu') },
      ...(microBatch === undefined ? { syncBatchNorm } : { microBatch: Math.min(microBatch, most) }),
    };
  });

const others = fc.record(
  {
    name: fc.constant('tiny'),
    threads: fc.constantFrom(1, 2),
    cudaGraph: fc.constantFrom('auto', 'off'),
    collective: fc.constantFrom('auto', 'shared-memory'),
    deterministic: fc.boolean(),
    optimizer: fc.constantFrom({ momentum: 0 }, { momentum: 0.9 }, { momentum: 0.9, nesterov: true }),
    resetMomentum: fc.boolean(),
    weightDecay: fc.constantFrom(0, 5e-4, 5e-4, 0.01, 1, 1e30),
    clipNorm: positive,
    lars: fc.record({ trust: positive, epsilon: fc.constantFrom(0, 1e-8) }, { requiredKeys: [] }),
    labelSmoothing: fc.constantFrom(0, 0.1, 0.99),
    seed,
    seeds: fc.record({ weights: seed, order: seed, selection: seed, validation: seed }, { requiredKeys: [] }),
    dumpGradients: fc.constantFrom([1, 1], [1, 2], [1, 9]),
    init: fc.constant('weights'),
    checkpoint: fc.record(
      {
        everyEpochs: fc.constantFrom(1, 2),
        everyMinutes: fc.constantFrom('never', 1e-9, 10),
        keep: fc.constantFrom(1, 2, 3),
      },
      { requiredKeys: [] },
    ),
    resume: fc.constantFrom('never', 'auto'),
    restarts: fc.nat(2),
    skipLimit: fc.constantFrom(1, 2, 25),
  },
  { requiredKeys: [] },
);

export const tinyDocuments: fc.Arbitrary<TinyDocument> = fc
  .record({
    model,
    dataset: fc.constantFrom('cifar10' as const, 'cifar100' as const),
    engine: fc.oneof(...engines),
    schedule,
    amplification: fc.oneof({ weight: 4, arbitrary: amplification }, fc.constant('none')),
    learningRate,
    batches,
    others,
  })
  .map(({ engine, batches, others: { optimizer, init, ...rest }, ...document }) => ({
    ...document,
    ...engine,
    ...batches,
    ...rest,
    ...optimizer,
    // An image of each class, or none.
    ...(document.dataset === 'cifar100' && { validation: 0 }),
    ...(rest.lars && { amplification: besideLars(document.amplification) }),
    ...(init && document.model.name.startsWith('resnet') && document.model.width <= 0.1 && { init }),
  }));

function besideLars(amplification: 'none' | Readonly<Record<string, unknown>>) {
  if (amplification === 'none' || amplification.apply !== 'backpropagated') return amplification;
  return { ...amplification, apply: 'gradient' };
}
