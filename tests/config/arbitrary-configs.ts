// Every config that the schema accepts, for tests of properties.

import fc from 'fast-check';
import { type Config, MODEL_NAMES } from '../../src/config/schema.ts';

const positive = fc.double({ min: Number.MIN_VALUE, max: 1e300, noNaN: true });
const count = fc.integer({ min: 1, max: 1e6 });

const seed = fc.oneof(fc.constantFrom(0, 7), fc.nat({ max: 2 ** 32 - 1 }));

const schedules = fc
  .array(
    fc.record({
      endEpoch: fc.integer({ min: 1, max: 1600 }),
      learningRate: positive,
      amplify: fc.boolean(),
      factor: positive,
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .map((phases) => {
    let end = 0;
    return phases.map((phase) => {
      end += phase.endEpoch;
      return { ...phase, endEpoch: end };
    });
  });

export const configs: fc.Arbitrary<Config> = fc
  .record(
    {
      name: fc.stringMatching(/^[\w][\w.-]{0,20}$/),
      model: fc.record({
        name: fc.constantFrom(...MODEL_NAMES),
        width: fc.double({ min: Number.MIN_VALUE, max: 16, noNaN: true }),
      }),
      dataset: fc.constantFrom('cifar10', 'cifar100'),
      dataDir: fc.string({
        minLength: 1,
        unit: fc.constantFrom(...' \t\n\r:#-[]{}&*!|>\'"%@`,?\\/0a.~äß漢🙂\u0000\u0007\u0085\u2028\ufeff'),
      }),
      validation: fc.nat({ max: 50_000 }),
      engine: fc.constantFrom('auto', 'torch', 'tfjs'),
      backend: fc.constantFrom('wasm', 'cpu', 'tensorflow'),
      threads: fc.integer({ min: 1, max: 1024 }),
      devices: fc.oneof(
        fc.array(fc.constant('cpu'), { minLength: 1, maxLength: 4 }),
        fc.array(fc.constantFrom('cuda:0', 'cuda:1', 'cuda:12'), { minLength: 1, maxLength: 4 }),
      ),
      precision: fc.constantFrom('float32', 'tf32', 'bfloat16'),
      cudaGraph: fc.constantFrom('auto', 'on', 'off'),
      collective: fc.constantFrom('auto', 'nccl', 'shared-memory'),
      deterministic: fc.boolean(),
      batchSize: fc.integer({ min: 4, max: 4096 }),
      microBatch: fc.constant(1),
      accumulate: count,
      momentum: fc.double({ min: Number.MIN_VALUE, max: 1, maxExcluded: true, noNaN: true }),
      syncBatchNorm: fc.boolean(),
      nesterov: fc.boolean(),
      resetMomentum: fc.boolean(),
      clipNorm: fc.double({ min: Number.MIN_VALUE, max: 1e300, noNaN: true }),
      lars: fc.record({ trust: positive, epsilon: fc.double({ min: 0, max: 1e300, noNaN: true }) }),
      labelSmoothing: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      weightDecay: fc.double({ min: 0, max: 1e300, noNaN: true }),
      schedule: schedules,
      learningRate: fc.oneof(
        fc.constant('phases' as const),
        fc.record(
          {
            policy: fc.constantFrom('cosine', 'one-cycle'),
            peak: fc.double({ min: Number.MIN_VALUE, max: 1e300, noNaN: true }),
            warmup: fc.double({ min: Number.MIN_VALUE, max: 0.9, noNaN: true }),
            start: fc.double({ min: 0, max: 1e300, noNaN: true }),
            final: fc.double({ min: 0, max: 1e300, noNaN: true }),
          },
          { requiredKeys: ['policy', 'peak', 'warmup'] },
        ),
      ),
      amplification: fc.oneof(
        fc.constant('none' as const),
        fc
          .record({
            measure: fc.constantFrom('G', 'Gprime'),
            case: fc.constantFrom(1, 2),
            threshold: fc.double({ noNaN: true, noDefaultInfinity: true }),
            reselect: fc.oneof(fc.constant('phase' as const), count),
            selection: fc.constantFrom('threshold', 'random', 'inverted', 'all'),
            score: fc.constantFrom('value', 'significance'),
            deviation: fc.constantFrom('population', 'sample'),
            candidates: fc.subarray(['conv2d', 'batchNorm', 'linear'], { minLength: 1 }),
            pooling: fc.constantFrom('layer', 'weight', 'tensor'),
            normalisedBiases: fc.boolean(),
            countDeadWeights: fc.boolean(),
            measureWeightDecay: fc.boolean(),
            apply: fc.constantFrom('gradient', 'learning-rate'),
            response: fc.constantFrom('amplify', 'freeze', 'continuous'),
          })
          // What the others need beside them.
          .map((settings) => ({
            ...settings,
            ...(settings.response === 'freeze' && { apply: 'learning-rate' }),
            ...(settings.response === 'continuous' && {
              selection: 'all',
              threshold: Math.abs(settings.threshold) || 1,
            }),
          })),
      ),
      seed,
      // Some are the run's seed, as where a file does not give them.
      seeds: fc.record({ weights: seed, order: seed, augmentation: seed, selection: seed, validation: seed }),
      dumpGradients: fc.tuple(count, count).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
      init: fc.string({ minLength: 1 }),
      checkpoint: fc.record({
        everyEpochs: count,
        everyMinutes: fc.oneof(
          fc.constant('never' as const),
          fc.double({ min: Number.MIN_VALUE, max: 10_080, noNaN: true }),
        ),
        keep: count,
      }),
      resume: fc.constantFrom('never', 'auto'),
      restarts: fc.nat(),
      barrierTimeout: fc.double({ min: Number.MIN_VALUE, max: 1e300, noNaN: true }),
      skipLimit: count,
    },
    {
      requiredKeys: [
        'model',
        'dataset',
        'dataDir',
        'validation',
        'engine',
        'backend',
        'devices',
        'precision',
        'cudaGraph',
        'collective',
        'deterministic',
        'batchSize',
        'syncBatchNorm',
        'accumulate',
        'momentum',
        'nesterov',
        'resetMomentum',
        'weightDecay',
        'labelSmoothing',
        'schedule',
        'learningRate',
        'amplification',
        'seed',
        'seeds',
        'checkpoint',
        'resume',
        'restarts',
        'barrierTimeout',
        'skipLimit',
      ],
    },
  )
  // What does not go together; what only GPUs have, and engine torch.
  .map((config) => {
    const { devices, engine, backend } = config;
    const onGpu = devices[0] !== 'cpu' && (engine === 'torch' || (engine === 'auto' && backend === 'wasm'));
    const shared = new Set(devices).size < devices.length;
    return {
      ...config,
      ...(!onGpu && { precision: 'float32' }),
      ...(!onGpu && config.cudaGraph === 'on' && { cudaGraph: 'off' }),
      ...(config.microBatch !== undefined && { syncBatchNorm: false }),
      ...((!onGpu || shared) && config.collective === 'nccl' && { collective: 'auto' }),
    } as Config;
  });
