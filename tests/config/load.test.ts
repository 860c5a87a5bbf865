// A config from file to Config: defaults, overrides, the way back to YAML, and the one line for every mistake.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { configDocument, loadConfig, type Overrides } from '../../src/config/load.ts';
import { UsageError } from '../../src/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'run.yaml');

const MINIMAL = 'model: resnet8\ndataset: cifar10\nschedule: [[4, 0.1, false, 1], [8, 0.1, true, 2]]\n';

function load(text: string, overrides?: Overrides) {
  writeFileSync(file, text);
  return loadConfig(file, overrides);
}

/** The message of the UsageError, with the file's folder left out. */
function complaint(text: string, overrides?: Overrides): string {
  try {
    load(text, overrides);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).message.replace(`${folder}/`, '');
  }
  return 'no complaint';
}

describe('a config that is right', () => {
  test('is filled up with the defaults', () => {
    expect(load(MINIMAL)).toEqual({
      model: { name: 'resnet8', width: 1 },
      dataset: 'cifar10',
      dataDir: 'data/cifar10',
      validation: 0,
      engine: 'auto',
      backend: 'wasm',
      devices: ['cpu'],
      precision: 'float32',
      cudaGraph: 'auto',
      collective: 'auto',
      deterministic: false,
      batchSize: 128,
      syncBatchNorm: false,
      accumulate: 1,
      momentum: 0.9,
      nesterov: false,
      resetMomentum: false,
      weightDecay: 5e-4,
      labelSmoothing: 0,
      schedule: [
        { endEpoch: 4, learningRate: 0.1, amplify: false, factor: 1 },
        { endEpoch: 8, learningRate: 0.1, amplify: true, factor: 2 },
      ],
      learningRate: 'phases',
      amplification: {
        measure: 'G',
        case: 1,
        threshold: 1.5,
        reselect: 'phase',
        selection: 'threshold',
        score: 'value',
        deviation: 'population',
        candidates: ['conv2d', 'batchNorm', 'linear'],
        pooling: 'layer',
        normalisedBiases: false,
        countDeadWeights: true,
        measureWeightDecay: false,
        apply: 'gradient',
        response: 'amplify',
      },
      seed: 0,
      seeds: { weights: 0, order: 0, augmentation: 0, selection: 0, validation: 0 },
      checkpoint: { everyEpochs: 1, everyMinutes: 10, keep: 2 },
      resume: 'never',
      restarts: 0,
      barrierTimeout: 600,
      skipLimit: 25,
    });
  });

  test('keeps every value that it states', () => {
    const text = `
name: first-try
model: { name: vgg19, width: 0.25 }
dataset: cifar100
dataDir: /mnt/cifar
validation: 5000
engine: torch
backend: cpu
devices: [cuda:0, cuda:0, cuda:11]
threads: 3
precision: float32
deterministic: true
batchSize: 96
microBatch: 32
accumulate: 4
momentum: 0.5
nesterov: true
resetMomentum: true
weightDecay: 0
clipNorm: 2.5
lars: { trust: 0.02 }
labelSmoothing: 0.1
learningRate: { policy: one-cycle, peak: 0.4, warmup: 15.5, start: 0, final: 0.001 }
schedule:
  - [50, 0.1, true, 1.5]
amplification:
  { measure: Gprime, case: 2, threshold: 0.7, reselect: 5, selection: random, ratio: 0.25, score: significance,
    deviation: sample, candidates: [linear, conv2d], pooling: tensor, normalisedBiases: true, countDeadWeights: false,
    measureWeightDecay: true, apply: learning-rate, response: freeze }
seed: 4294967295
seeds: { weights: 1, order: 2, augmentation: 3, selection: 4, validation: 5 }
dumpGradients: [3, 3]
init: weights.safetensors
checkpoint: { everyEpochs: 5, everyMinutes: never, keep: 3 }
resume: auto
restarts: 4
barrierTimeout: 0.5
skipLimit: 7
`;
    expect(load(text)).toEqual({
      name: 'first-try',
      model: { name: 'vgg19', width: 0.25 },
      dataset: 'cifar100',
      dataDir: '/mnt/cifar',
      validation: 5000,
      engine: 'torch',
      backend: 'cpu',
      devices: ['cuda:0', 'cuda:0', 'cuda:11'],
      threads: 3,
      precision: 'float32',
      cudaGraph: 'auto',
      collective: 'auto',
      deterministic: true,
      batchSize: 96,
      microBatch: 32,
      syncBatchNorm: false,
      accumulate: 4,
      momentum: 0.5,
      nesterov: true,
      resetMomentum: true,
      weightDecay: 0,
      clipNorm: 2.5,
      lars: { trust: 0.02, epsilon: 1e-8 },
      labelSmoothing: 0.1,
      schedule: [{ endEpoch: 50, learningRate: 0.1, amplify: true, factor: 1.5 }],
      learningRate: { policy: 'one-cycle', peak: 0.4, warmup: 15.5, start: 0, final: 0.001 },
      amplification: {
        measure: 'Gprime',
        case: 2,
        threshold: 0.7,
        reselect: 5,
        selection: 'random',
        ratio: 0.25,
        score: 'significance',
        deviation: 'sample',
        candidates: ['linear', 'conv2d'],
        pooling: 'tensor',
        normalisedBiases: true,
        countDeadWeights: false,
        measureWeightDecay: true,
        apply: 'learning-rate',
        response: 'freeze',
      },
      seed: 4294967295,
      seeds: { weights: 1, order: 2, augmentation: 3, selection: 4, validation: 5 },
      dumpGradients: [3, 3],
      init: 'weights.safetensors',
      checkpoint: { everyEpochs: 5, everyMinutes: 'never', keep: 3 },
      resume: 'auto',
      restarts: 4,
      barrierTimeout: 0.5,
      skipLimit: 7,
    });
  });

  test('may amplify in a phase while amplification is none: the original model on the same schedule', () => {
    expect(load(`${MINIMAL}amplification: none\n`).amplification).toBe('none');
  });

  test('takes its data from the data set’s folder', () => {
    expect(load(MINIMAL.replace('cifar10', 'cifar100')).dataDir).toBe('data/cifar100');
  });

  test('has one seed for everything but what has its own', () => {
    const seeds = { weights: 7, order: 3, augmentation: 7, selection: 7, validation: 7 };
    expect(load(`${MINIMAL}seed: 7\nseeds: { order: 3 }\n`)).toMatchObject({ seed: 7, seeds });
    expect(load(`${MINIMAL}seed: 7\n`, { set: ['seeds.order=3'] })).toMatchObject({ seed: 7, seeds });
  });

  test('is written with the seeds that differ, so that a new seed changes all others', () => {
    const text = configDocument(load(`${MINIMAL}seed: 7\nseeds: { order: 3, weights: 7 }\n`));
    expect(text).toContain('seed: 7\nseeds:\n  order: 3\n');
    expect(load(text, { set: ['seed=8'] }).seeds).toEqual({
      ...{ weights: 8, order: 3, augmentation: 8, selection: 8, validation: 8 },
    });
    expect(configDocument(load(`${MINIMAL}seed: 7\n`))).not.toContain('seeds');
  });

  test('may use anchors, and an override of one place leaves the other', () => {
    const text =
      'model: resnet8\ndataset: cifar10\nschedule: [&first [4, 0.1, false, 1], [8, 0.1, true, 2]]\n';
    const twice = text.replace('[8, 0.1, true, 2]', '*first');
    const config = load(twice, { set: ['schedule.1.0=9'] });
    expect(config.schedule.map((phase) => phase.endEpoch)).toEqual([4, 9]);
  });
});

describe('--set', () => {
  const set = (...set: string[]) => load(MINIMAL, { set });

  test('replaces a value, read as YAML', () => {
    expect(set('batchSize=64').batchSize).toBe(64);
    expect(set('weightDecay=1e-3').weightDecay).toBe(0.001);
    expect(set('devices=[cpu, cpu]').devices).toEqual(['cpu', 'cpu']);
    expect(set('dataDir=a=b').dataDir).toBe('a=b');
    expect(set('schedule=[[2,0.1,false,1]]').schedule).toEqual([
      { endEpoch: 2, learningRate: 0.1, amplify: false, factor: 1 },
    ]);
  });

  test('reaches into maps that the file does not have, and into a model given by its name', () => {
    expect(set('amplification.threshold=2').amplification).toMatchObject({ threshold: 2, measure: 'G' });
    expect(set('model.width=0.5').model).toEqual({ name: 'resnet8', width: 0.5 });
  });

  test('reaches into lists, and appends to them', () => {
    expect(set('schedule.0.1=0.05').schedule[0].learningRate).toBe(0.05);
    expect(set('devices.0=cuda:1').devices).toEqual(['cuda:1']);
    expect(set('schedule.2=[9, 0.01, false, 1]').schedule).toHaveLength(3);
  });

  test('is applied in order, and --devices after it', () => {
    expect(set('batchSize=64', 'batchSize=32').batchSize).toBe(32);
    expect(load(MINIMAL, { set: ['devices=[cuda:0]'], devices: 'cpu, cpu' }).devices).toEqual(['cpu', 'cpu']);
  });
});

describe('null', () => {
  const OPTIONAL = `
threads: 2
microBatch: 32
clipNorm: 1
lars: { trust: 0.02, epsilon: 0 }
learningRate: { policy: cosine, peak: 0.4, warmup: 1, start: 0.1, final: 0.01 }
amplification: { selection: random, ratio: 0.5, threshold: 2 }
seeds: { order: 3 }
dumpGradients: [1, 2]
`;
  const KEYS = [
    ...['threads', 'microBatch', 'clipNorm', 'lars', 'learningRate.start', 'learningRate.final'],
    ...['amplification.ratio', 'amplification.threshold', 'seeds.order', 'dumpGradients'],
  ];
  const curve = 'learningRate: { policy: cosine, peak: 0.4, warmup: 1 }\n';
  const without = () => load(`${MINIMAL}${curve}amplification: { selection: random }\n`);

  test('switches off what a file says', () => {
    const off = load(MINIMAL + OPTIONAL, { set: KEYS.map((key) => `${key}=null`) });
    expect(off).toStrictEqual(without());
    expect(load(MINIMAL + OPTIONAL, { set: ['amplification=', 'learningRate=~'] })).toMatchObject({
      amplification: { selection: 'threshold', threshold: 1.5 },
      learningRate: 'phases',
    });
  });

  test('is as good as nothing in a file', () => {
    const nothing = 'lars:\nthreads: null\nseed:\nname: ~\nextends:\n';
    expect(load(`${MINIMAL}${nothing}amplification: { ratio: null }\n`)).toStrictEqual(load(MINIMAL));
    expect(load(`${MINIMAL}lars:\n`, { set: ['lars.trust=1'] }).lars).toEqual({ trust: 1, epsilon: 1e-8 });
  });

  test('cannot stand for what must be there, and a misspelt key is none to switch off', () => {
    expect(complaint(MINIMAL, { set: ['dataset=null'] })).toBe(
      '--set: dataset: expected cifar10 or cifar100, got nothing',
    );
    expect(complaint(MINIMAL, { set: ['larz=null'] })).toBe('--set: unknown key larz; did you mean lars?');
  });
});

describe('one line says what is wrong with', () => {
  const phases = (text: string) => `model: resnet8\ndataset: cifar10\nschedule: ${text}\n`;
  const MODELS = 'vgg19, resnet18, resnet34, resnet50, resnet101, resnet8, resnet20';

  test.each([
    ['a misspelt extends', 'extend: base.yaml', 'run.yaml: unknown key extend; did you mean extends?'],
    ['an unknown key', 'batchsize: 64', 'run.yaml: unknown key batchsize; did you mean batchSize?'],
    [
      'an unknown nested key',
      'amplification: { treshold: 2 }',
      'run.yaml: amplification: unknown key treshold; did you mean threshold?',
    ],
    [
      'a key like no other',
      'amplification: { colour: 2 }',
      'run.yaml: amplification: unknown key colour; the keys are measure, case, threshold, reselect, selection, ratio, score, deviation, candidates, pooling, normalisedBiases, countDeadWeights, measureWeightDecay, apply, response',
    ],
    [
      'a number that is text',
      'batchSize: big',
      'run.yaml: batchSize: expected a whole number of at least 1, got "big"',
    ],
    [
      'a number in quotes',
      'batchSize: "64"',
      'run.yaml: batchSize: expected a whole number of at least 1, got "64"; write it without quotes',
    ],
    [
      'a number out of range',
      'momentum: 1',
      'run.yaml: momentum: expected a number from 0 to below 1, got 1',
    ],
    [
      'a number that is none',
      'weightDecay: .nan',
      'run.yaml: weightDecay: expected a number of at least 0, got NaN',
    ],
    [
      'an infinite number',
      'weightDecay: .inf',
      'run.yaml: weightDecay: expected a number of at least 0, got Infinity',
    ],
    ['a fraction', 'microBatch: 0.5', 'run.yaml: microBatch: expected a whole number of at least 1, got 0.5'],
    [
      'a seed beyond 32 bits',
      'seed: 4294967296',
      'run.yaml: seed: expected a whole number from 0 to 4294967295, got 4294967296',
    ],
    [
      'a list with an empty value',
      'devices: [null]',
      'run.yaml: devices.0: expected cpu or cuda:<n>, got an empty value',
    ],
    ['a misspelt key without a value', 'sede:', 'run.yaml: unknown key sede; did you mean seed?'],
    [
      'a misspelt key that is switched off, inside',
      'amplification: { ratoi: null, threshold: 1 }',
      'run.yaml: amplification: unknown key ratoi; did you mean ratio?',
    ],
    ['an unknown seed', 'seeds: { oder: 1 }', 'run.yaml: seeds: unknown key oder; did you mean order?'],
    [
      'one of the seeds beyond 32 bits',
      'seeds: { weights: -1 }',
      'run.yaml: seeds.weights: expected a whole number from 0 to 4294967295, got -1',
    ],
    [
      'seeds that are one number',
      'seeds: 7',
      'run.yaml: seeds: expected { weights, order, augmentation, selection, validation }, got 7',
    ],
    [
      'a part of an image held out',
      'validation: 0.1',
      'run.yaml: validation: expected a whole number of at least 0, got 0.1',
    ],
    [
      'fewer images than none held out',
      'validation: -5000',
      'run.yaml: validation: expected a whole number of at least 0, got -5000',
    ],
    [
      'determinism in words',
      'deterministic: yes',
      'run.yaml: deterministic: expected true or false, got "yes"; write true',
    ],
    [
      'an unknown engine',
      'engine: tfj',
      'run.yaml: engine: expected auto, torch or tfjs, got "tfj"; did you mean tfjs?',
    ],
    [
      'an unknown backend',
      'backend: webgl',
      'run.yaml: backend: expected wasm, cpu or tensorflow, got "webgl"',
    ],
    [
      'an unknown device',
      'devices: [cpu, gpu:0]',
      'run.yaml: devices.1: expected cpu or cuda:<n>, got "gpu:0"',
    ],
    ['no threads', 'threads: 0', 'run.yaml: threads: expected a whole number from 1 to 1024, got 0'],
    ['half a thread', 'threads: 0.5', 'run.yaml: threads: expected a whole number from 1 to 1024, got 0.5'],
    [
      'an unknown precision',
      'precision: float16',
      'run.yaml: precision: expected float32, tf32 or bfloat16, got "float16"; did you mean bfloat16?',
    ],
    [
      'tf32 on cpu',
      'precision: tf32',
      'run.yaml: precision: expected float32 on cpu, got tf32; processors have no hardware for it',
    ],
    [
      'bfloat16 on cpu',
      'precision: bfloat16',
      'run.yaml: precision: expected float32 on cpu, got bfloat16; processors are slower with it than with float32',
    ],
    [
      'bfloat16 of engine tfjs',
      'precision: bfloat16\nengine: tfjs\nbackend: tensorflow\ndevices: [cuda:0]',
      'run.yaml: precision: expected float32 with engine tfjs, got bfloat16; only engine torch has it, on GPUs',
    ],
    [
      'tf32 of a backend that makes auto tfjs',
      'precision: tf32\nbackend: tensorflow\ndevices: [cuda:0]',
      'run.yaml: precision: expected float32 with backend tensorflow, got tf32; only engine torch has it, on GPUs',
    ],
    [
      'a CUDA graph on cpu',
      'cudaGraph: on',
      'run.yaml: cudaGraph: expected auto or off on cpu, got on; only engine torch records graphs, on GPUs',
    ],
    [
      'NCCL on cpu',
      'collective: nccl',
      'run.yaml: collective: expected auto or shared-memory on cpu, got nccl, which joins GPUs of engine torch; set collective: auto',
    ],
    [
      'NCCL with two workers on a GPU',
      'collective: nccl\ndevices: [cuda:1, cuda:0, cuda:1]',
      'run.yaml: collective: expected auto or shared-memory with two workers on cuda:1, got nccl, which hangs where workers share a GPU; set collective: auto',
    ],
    [
      'processors beside GPUs',
      'devices: [cpu, cuda:1]',
      'run.yaml: devices: expected processors or GPUs, got cpu and cuda:1; every step would wait for the slowest, so use one kind',
    ],
    [
      'devices that are no list',
      'devices: cpu',
      'run.yaml: devices: expected a list of devices, got "cpu"; for example [cpu, cpu]',
    ],
    [
      'no devices',
      'devices: []',
      'run.yaml: devices: expected a list of devices, got []; for example [cpu, cpu]',
    ],
    [
      'a batch smaller than the workers',
      'devices: [cpu, cpu, cpu]\nbatchSize: 2',
      'run.yaml: batchSize: expected at least one image for each of the 3 devices, got 2; use fewer devices or a larger batch',
    ],
    [
      'fewer passes than workers',
      'devices: [cpu, cpu, cpu]\nbatchSize: 100\nmicroBatch: 50',
      'run.yaml: microBatch: expected at most 49, so that a batch of 100 has a pass for each of the 3 devices, got 50; use fewer devices or a smaller microBatch',
    ],
    [
      'two rules for the statistics of batch norm',
      'microBatch: 32\nsyncBatchNorm: true',
      'run.yaml: syncBatchNorm: expected false with microBatch, got true; one takes the statistics of batch norm over passes of 32 images, the other over the whole batch, so set microBatch: null or leave syncBatchNorm out',
    ],
    [
      'an unknown measure',
      'amplification: { measure: g }',
      'run.yaml: amplification.measure: expected G or Gprime, got "g"; did you mean G?',
    ],
    [
      'an unknown case',
      'amplification: { case: 3 }',
      'run.yaml: amplification.case: expected 1 (z > threshold) or 2 (|z| > threshold), got 3',
    ],
    [
      'a reselection that never comes',
      'amplification: { reselect: 0 }',
      'run.yaml: amplification.reselect: expected phase or a whole number of epochs of at least 1, got 0',
    ],
    [
      'an amplification that is neither map nor none',
      'amplification: non',
      'run.yaml: amplification: expected { measure, case, threshold, reselect } or none, got "non"; did you mean none?',
    ],
    [
      'an unknown response',
      'amplification: { response: frieze }',
      'run.yaml: amplification.response: expected amplify, freeze or continuous, got "frieze"; did you mean freeze?',
    ],
    [
      'frozen gradients',
      'amplification: { response: freeze }',
      'run.yaml: amplification.apply: expected learning-rate with response freeze, got gradient; without a gradient, momentum and weight decay would still move a layer',
    ],
    [
      'a re-selection that would measure amplified gradients',
      'amplification: { reselect: 5, apply: backpropagated }',
      'run.yaml: amplification.reselect: expected phase with apply backpropagated, got 5; a re-selection would measure gradients that hold the factors of the one before, and not raw ones',
    ],
    [
      'frozen backpropagation',
      'amplification: { response: freeze, apply: backpropagated }',
      'run.yaml: amplification.apply: expected learning-rate with response freeze, got backpropagated; without a gradient, momentum and weight decay would still move a layer',
    ],
    [
      'continuous factors of all layers behind a layer',
      'amplification: { response: continuous, selection: all, apply: backpropagated }',
      'run.yaml: amplification.apply: expected gradient or learning-rate with response continuous, got backpropagated; a layer would get the factors of all behind it too',
    ],
    [
      'continuous factors for some layers only',
      'amplification: { response: continuous }',
      'run.yaml: amplification.selection: expected all with response continuous, which gives every candidate a factor of its own, got threshold; set selection: all',
    ],
    [
      'a threshold that continuous factors cannot be measured by',
      'amplification: { response: continuous, selection: all, threshold: 0 }',
      'run.yaml: amplification.threshold: expected a threshold above 0 with response continuous, which divides z by it, got 0',
    ],
    [
      'a trust of 0',
      'lars: { trust: 0 }',
      'run.yaml: lars.trust: expected a trust coefficient (a number above 0), got 0',
    ],
    [
      'an epsilon below 0',
      'lars: { epsilon: -1 }',
      'run.yaml: lars.epsilon: expected a number of at least 0, got -1',
    ],
    ['a switch for lars', 'lars: true', 'run.yaml: lars: expected { trust, epsilon }, got true'],
    [
      'an amplification that lars would undo',
      'lars: {}\namplification: { apply: backpropagated }',
      'run.yaml: amplification.apply: expected gradient or learning-rate beside lars, got backpropagated; lars divides by the norms of the gradients, and so would undo it',
    ],
    [
      'a cycle without its first half',
      'learningRate: { policy: one-cycle, peak: 0.4 }',
      'run.yaml: learningRate.warmup: expected more than 0 epochs with policy one-cycle, whose first half it is, got 0; for example warmup: 2.4',
    ],
    [
      'a start without a warm-up',
      'learningRate: { policy: cosine, peak: 0.4, start: 0.1 }',
      'run.yaml: learningRate.start: expected a start only with a warm-up, got 0.1 with warmup: 0; leave it out or set warmup',
    ],
    [
      'steps in the wrong order',
      'dumpGradients: [4, 2]',
      'run.yaml: dumpGradients: expected a first step that is not after the last, got [4,2]',
    ],
    [
      'a name that leaves the folder',
      'name: ../x',
      'run.yaml: name: expected a name of letters, digits, dots, dashes and underscores, got "../x"',
    ],
    ['an empty folder name', "dataDir: ''", 'run.yaml: dataDir: expected the path of a folder, got ""'],
    [
      'several things',
      'seed: -1\nbatchsize: 3\nengine: 7',
      'run.yaml: unknown key batchsize; did you mean batchSize? (and 2 more)',
    ],
    [
      'a key given twice',
      'model: vgg19',
      'run.yaml:4:1: this key is given a second time; remove one of the two',
    ],
    [
      'broken YAML',
      'devices: [cpu',
      'run.yaml:5:1: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    ['a tag', 'seed: !secret 3', 'run.yaml:4:7: Unresolved tag: !secret'],
    [
      'an alias that contains itself',
      'devices: &a [*a]',
      'run.yaml: devices.0: expected cpu or cuda:<n>, got a list that contains itself',
    ],
  ])('%s', (_, line, message) => {
    expect(complaint(`${MINIMAL}${line}\n`)).toBe(message);
  });

  test.each([
    [
      'an unknown model',
      'model: resnet81\n',
      `run.yaml: model: expected ${MODELS}, or { name, width }, got "resnet81"; did you mean resnet8?`,
    ],
    [
      'an unknown model with a width',
      'model: { name: vgg16, width: 1 }\n',
      'run.yaml: model.name: expected vgg19, resnet18, resnet34, resnet50, resnet101, resnet8 or resnet20, got "vgg16"; did you mean vgg19?',
    ],
    [
      'a model without width',
      'model: { name: vgg19, width: 0 }\n',
      'run.yaml: model.width: expected a width (a number above 0, at most 16), got 0',
    ],
    ['a missing model', '', `run.yaml: model: expected ${MODELS}, or { name, width }, got nothing`],
  ])('%s', (_, line, message) => {
    expect(complaint(MINIMAL.replace('model: resnet8\n', line))).toBe(message);
  });

  test('an unknown data set', () => {
    expect(complaint(MINIMAL.replace('cifar10', 'cifar11'))).toBe(
      'run.yaml: dataset: expected cifar10 or cifar100, got "cifar11"; did you mean cifar10?',
    );
  });

  test.each([
    [
      'phases that overlap',
      '[[50, 0.1, false, 1], [50, 0.1, true, 2]]',
      'run.yaml: schedule.1.0: expected phase 2 to end after epoch 50, where phase 1 ends, got 50; phases follow each other, each with the last epoch it holds',
    ],
    [
      'phases that go backwards',
      '[[50, 0.1, false, 1], [100, 0.1, true, 2], [90, 0.01, true, 2]]',
      'run.yaml: schedule.2.0: expected phase 3 to end after epoch 100, where phase 2 ends, got 90; phases follow each other, each with the last epoch it holds',
    ],
    [
      'no phases',
      '[]',
      'run.yaml: schedule: expected a list of [end epoch, learning rate, amplify, factor], got []; for example [[50, 0.1, false, 1], [100, 0.1, true, 2]]',
    ],
    [
      'a phase that is too short',
      '[[50, 0.1, false]]',
      'run.yaml: schedule.0: expected a phase [end epoch, learning rate, amplify, factor], got [50,0.1,false]',
    ],
    [
      'a phase that ends at epoch 0',
      '[[0, 0.1, false, 1]]',
      'run.yaml: schedule.0.0: expected a whole number from 1 to 10000, got 0',
    ],
    [
      'more epochs than anybody waits for',
      '[[5000000000, 0.1, false, 1]]',
      'run.yaml: schedule.0.0: expected a whole number from 1 to 10000, got 5000000000',
    ],
    [
      'a learning rate of 0',
      '[[1, 0, false, 1]]',
      'run.yaml: schedule.0.1: expected a learning rate (a number above 0), got 0',
    ],
    [
      'a factor below 0',
      '[[1, 0.1, true, -2]]',
      'run.yaml: schedule.0.3: expected a factor (a number above 0), got -2',
    ],
    [
      'a switch in words',
      '[[1, 0.1, off, 1]]',
      'run.yaml: schedule.0.2: expected true or false, got "off"; write false',
    ],
  ])('%s', (_, text, message) => {
    expect(complaint(phases(text))).toBe(message);
  });

  const NO_MAP = 'expected a map of keys such as "model: resnet8", got';

  test.each([
    ['an empty file', '', `run.yaml: ${NO_MAP} an empty file; see configs/quickstart.yaml`],
    ['a file of comments', '# nothing\n', `run.yaml: ${NO_MAP} an empty file; see configs/quickstart.yaml`],
    ['a list', '- model\n', `run.yaml: ${NO_MAP} a list; see configs/quickstart.yaml`],
    ['a sentence', 'train it', `run.yaml: ${NO_MAP} a string; see configs/quickstart.yaml`],
    [
      'two documents',
      'seed: 1\n---\nseed: 2\n',
      'run.yaml:2:1: a second document starts here; expected one config a file',
    ],
    [
      'a key that is a list',
      '? [a, b]\n: 1\n',
      'run.yaml:1:3: expected the name of a key, got a map or a list',
    ],
  ])('%s', (_, text, message) => {
    expect(complaint(text)).toBe(message);
  });

  test('a bomb of aliases', () => {
    const lines = ['a0: &a0 [x, x]'];
    for (let n = 1; n < 20; n++) lines.push(`a${n}: &a${n} [*a${n - 1}, *a${n - 1}, *a${n - 1}]`);
    expect(complaint(lines.join('\n'))).toBe(
      'run.yaml: Excessive alias count indicates a resource exhaustion attack',
    );
  });

  test('a text that is nested without end, and one whose mistake is long', () => {
    expect(complaint(`model: ${'['.repeat(5000)}`)).toBe(
      'run.yaml:1:71: expected at most 64 levels of maps and lists, got more',
    );
    expect(complaint(`model: !${'x'.repeat(5000)} 1`)).toBe(
      `run.yaml:1:8: Unresolved tag: !${'x'.repeat(183)}…`,
    );
    expect(complaint(`extends: ${'x'.repeat(5000)}`)).toMatch(/^.{1,200}…: cannot be read \(.{200}…\)$/);
  });

  test('a file that is not there, or is a folder', () => {
    const hint = 'expected the path of a YAML config such as configs/quickstart.yaml';
    mkdirSync(join(folder, 'folder.yaml'));
    expect(() => loadConfig('nowhere/run.yaml')).toThrow(
      new UsageError(`nowhere/run.yaml: no such file; ${hint}`),
    );
    expect(() => loadConfig(`${file}/x`)).toThrow(new UsageError(`${file}/x: no such file; ${hint}`));
    expect(() => loadConfig(join(folder, 'folder.yaml'))).toThrow(
      new UsageError(`${folder}/folder.yaml: is a folder; ${hint}`),
    );
  });

  test.each([
    [
      'an override without a value',
      'batchSize',
      '--set: expected key=value, got "batchSize"; for example --set batchSize=64',
    ],
    [
      'an override without a key',
      '=3',
      '--set: expected key=value, got "=3"; for example --set batchSize=64',
    ],
    ['an override that is not YAML', 'devices=[cpu', '--set: devices: expected a YAML value, got "[cpu"'],
    [
      'an override with an alias of nothing',
      'devices=*cpus',
      '--set: devices: expected a YAML value, got "*cpus"',
    ],
    [
      'an override out of range',
      'batchSize=0',
      '--set: batchSize: expected a whole number of at least 1, got 0',
    ],
    [
      'an override of extends',
      'extends=base.yaml',
      '--set: extends: expected in a config file alone; write it there',
    ],
    ['an override of an unknown key', 'batchsize=3', '--set: unknown key batchsize; did you mean batchSize?'],
    [
      'an override of an unknown nested key',
      'amplification.treshold=3',
      '--set: amplification: unknown key treshold; did you mean threshold?',
    ],
    [
      'an override inside a number',
      'schedule.0.1.x=3',
      '--set: schedule.0.1.x: expected schedule.0.1 to be a map, but it is 0.1; set schedule.0.1 as a whole first',
    ],
    [
      'an override behind the end of a list',
      'schedule.3.1=0.1',
      '--set: schedule.3.1: expected schedule.<number from 0 to 2>, got "3"',
    ],
    [
      'an override of a prototype',
      '__proto__.seed=3',
      '--set: unknown key __proto__; the keys are name, model, dataset, dataDir, validation, engine, backend, devices, threads, precision, cudaGraph, collective, deterministic, batchSize, microBatch, syncBatchNorm, accumulate, momentum, nesterov, resetMomentum, weightDecay, clipNorm, lars, labelSmoothing, schedule, learningRate, amplification, seed, seeds, dumpGradients, init, checkpoint, resume, restarts, barrierTimeout, skipLimit, extends',
    ],
  ])('%s', (_, override, message) => {
    expect(complaint(MINIMAL, { set: [override] })).toBe(message);
  });

  test('the devices of the command line', () => {
    expect(complaint(MINIMAL, { devices: 'cpu,' })).toBe(
      '--devices: devices.1: expected cpu or cuda:<n>, got ""',
    );
    expect(complaint(`${MINIMAL}batchSize: 1\n`, { devices: 'cpu,cpu' })).toBe(
      'run.yaml: batchSize: expected at least one image for each of the 2 devices, got 1; use fewer devices or a larger batch',
    );
  });

  test('a value of many lines, and a long one', () => {
    expect(complaint(`${MINIMAL}engine: "a\\nb\\x1b"\n`)).toBe(
      'run.yaml: engine: expected auto, torch or tfjs, got "a\\nb\\u001b"',
    );
    expect(complaint(`${MINIMAL}engine: ${'long'.repeat(100)}\n`)).toBe(
      `run.yaml: engine: expected auto, torch or tfjs, got "${'long'.repeat(100).slice(0, 59)}…`,
    );
    expect(complaint(`${MINIMAL}"new\\nline": 1\n`)).toMatch(
      /^run\.yaml: unknown key "new\\nline"; the keys are/,
    );
  });
});
