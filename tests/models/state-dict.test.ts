// A model's state under PyTorch's names, there and back; and against a real PyTorch, where there is one.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findTorchPython } from '../../bench/python.ts';
import type { ModelName } from '../../src/config/schema.ts';
import { IMAGE_BYTES, type Split } from '../../src/data/dataset.ts';
import type { Engine } from '../../src/engines/engine.ts';
import { UsageError } from '../../src/errors.ts';
import { type Graph, sizeOf } from '../../src/models/graph.ts';
import { buildModel } from '../../src/models/index.ts';
import { initialParameters } from '../../src/models/initialise.ts';
import { fromStateDict, type ModelState, stateTensors, toStateDict } from '../../src/models/state-dict.ts';
import { fromPackage } from '../../src/package-root.ts';
import { draw, Stream, toUnit } from '../../src/random.ts';
import { decodeSafetensors, encodeSafetensors, type Tensor } from '../../src/training/safetensors.ts';
import {
  decodeWeights,
  encodeWeights,
  normalisationWarning,
  readInitialWeights,
} from '../../src/training/weights-file.ts';
import { batchOf, normalisation, randomSplit } from '../engines/fixtures.ts';
import { loadEngine } from '../engines/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-state-dict-'));
afterAll(() => rmSync(folder, { recursive: true }));

const models: readonly (readonly [ModelName, number])[] = [
  ['resnet8', 1],
  ['vgg19', 1 / 32],
  ['resnet50', 1 / 16],
];

const uniform = (seed: number, position: number) => toUnit(draw(seed, Stream.synthetic, position)[0]);

/** Every number its own: gammas and variances around 1, the others around 0. */
function randomState(graph: Graph, seed: number): ModelState {
  const state = {
    weights: initialParameters(graph, seed),
    statistics: new Float32Array(graph.statisticsLength),
  };
  for (const { name, shape, vector, offset } of stateTensors(graph)) {
    if (shape.length > 1) continue;
    const centre = name.endsWith('running_var') || name.endsWith('weight') ? 1 : 0;
    for (let i = offset; i < offset + sizeOf(shape); i++) {
      state[vector][i] = centre + uniform(seed + (vector === 'weights' ? 1 : 2), i) - 0.5;
    }
  }
  return state;
}

/** To the bit; said by vector, since a picture of all differing numbers takes minutes. */
function expectSame(found: ModelState, expected: ModelState) {
  for (const vector of ['weights', 'statistics'] as const) {
    const [a, b] = [found, expected].map((state) => new Uint8Array(state[vector].buffer));
    expect(Buffer.compare(a, b), vector).toBe(0);
  }
}

const floatsOf = ({ data }: Tensor) => new Float32Array(new Uint8Array(data).buffer);

describe.each(models)('%s, width %f', (name, width) => {
  const graph = buildModel({ name, width, classes: 10 });
  const state = randomState(graph, 4);
  const file = encodeWeights(graph, state, { width, normalisation });

  test('comes back to the bit, padding 0, and its file is the same written again', () => {
    const read = decodeWeights(graph, file);
    expectSame(read, state);
    expect(Buffer.compare(encodeWeights(graph, read, { width, normalisation }), file)).toBe(0);
    expect(Buffer.compare(encodeSafetensors(decodeSafetensors(file)), file)).toBe(0);
  });

  test('has all parameters and statistics in its file, and the metadata of the model', () => {
    const { metadata, tensors } = decodeSafetensors(file);
    const elements = [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    expect(elements).toBe(graph.parameterCount + graph.statisticsLength);
    expect(Object.fromEntries(metadata)).toEqual({
      ...{ format: 'pt', model: name, width: String(width), classes: '10' },
      ...{ mean: '[0.48,0.45,0.4]', std: '[0.24,0.26,0.28]' },
    });
  });
});

const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
const state = randomState(graph, 5);
const tensors = toStateDict(graph, state);

test('tensors stand in the order in which PyTorch states them', () => {
  const batchNorm = ['weight', 'bias', 'running_mean', 'running_var'];
  expect([...tensors.keys()].slice(0, 6)).toEqual([
    'conv1.weight',
    ...batchNorm.map((name) => `bn1.${name}`),
    'layer1.0.conv1.weight',
  ]);
  expect([...tensors.keys()].slice(-2)).toEqual(['linear.weight', 'linear.bias']);
});

test('the weights of a convolution are stored as [O, I, kh, kw], and lie in memory as O, kh, kw, I', () => {
  const { shape, offset } = stateTensors(graph).find(({ name }) => name === 'layer2.0.conv1.weight')!;
  expect(shape).toEqual([8, 4, 3, 3]);
  const stored = floatsOf(tensors.get('layer2.0.conv1.weight')!);
  let position = offset;
  for (let o = 0; o < 8; o++) {
    for (let y = 0; y < 3; y++) {
      for (let x = 0; x < 3; x++) {
        for (let i = 0; i < 4; i++) {
          expect(stored[((o * 4 + i) * 3 + y) * 3 + x]).toBe(state.weights[position++]);
        }
      }
    }
  }
});

test('running statistics are the means of a batch norm, then its variances', () => {
  const node = graph.nodes.find(({ name }) => name === 'layer1.0.bn1')!;
  if (node.op !== 'batchNorm') throw new Error('expected a batch norm');
  const expected = state.statistics.subarray(node.statisticsOffset, node.statisticsOffset + 8);
  const [means, variances] = ['running_mean', 'running_var'].map((name) =>
    floatsOf(tensors.get(`layer1.0.bn1.${name}`)!),
  );
  expect([...means, ...variances]).toEqual([...expected]);
});

describe('of a state dict', () => {
  const count: Tensor = { dtype: 'I64', shape: [], data: new Uint8Array(8) };
  const filter = tensors.get('conv1.weight')!;
  const changed = (...changes: readonly (readonly [string, Tensor | undefined])[]) => {
    const all = new Map(tensors);
    for (const [name, tensor] of changes) tensor ? all.set(name, tensor) : all.delete(name);
    return all;
  };

  test('the counts of batches are left out', () => {
    expectSame(fromStateDict(graph, changed(['layer2.0.shortcut.1.num_batches_tracked', count])), state);
  });

  test.each<[string, string, ReturnType<typeof changed>]>([
    [
      'that is missing is named',
      'layer3.0.bn2.running_var: expected F32 [16] for resnet8, found none',
      changed(['layer3.0.bn2.running_var', undefined]),
    ],
    [
      'that the model does not have is named',
      'fc: expected only tensors of resnet8, found F32 [4, 3, 3, 3] that it does not have',
      changed(['fc', filter]),
    ],
    [
      'that is misspelt is named with its right name',
      'conv1.wieght: expected only tensors of resnet8, found F32 [4, 3, 3, 3] that it does not have; did you mean conv1.weight?',
      changed(['conv1.weight', undefined], ['conv1.wieght', filter]),
    ],
    [
      'with a name of several lines is told in one',
      String.raw`"a\nb": expected only tensors of resnet8, found I64 [] that it does not have`,
      changed(['a\nb', count]),
    ],
    [
      'with a name of a megabyte is told in short',
      `"${'a'.repeat(59)}…: expected only tensors of resnet8, found I64 [] that it does not have`,
      changed(['a'.repeat(2 ** 20), count]),
    ],
    [
      'with another shape is named with both',
      'conv1.weight: expected F32 [4, 3, 3, 3] for resnet8, found F32 [3, 4, 3, 3]',
      changed(['conv1.weight', { ...filter, shape: [3, 4, 3, 3] }]),
    ],
    [
      'with many dimensions is told in short',
      'conv1.weight: expected F32 [4, 3, 3, 3] for resnet8, found F32 of 100 dimensions',
      changed(['conv1.weight', { ...filter, shape: new Array(100).fill(1) }]),
    ],
    [
      'with another type is named with both',
      'conv1.weight: expected F32 [4, 3, 3, 3] for resnet8, found I32 [4, 3, 3, 3]',
      changed(['conv1.weight', { ...filter, dtype: 'I32' }]),
    ],
    [
      'that counts the batches of a convolution is one too many',
      'conv1.num_batches_tracked: expected only tensors of resnet8, found I64 [] that it does not have; did you mean bn1.num_batches_tracked?',
      changed(['conv1.num_batches_tracked', count]),
    ],
    [
      'that counts batches in another type is wrong',
      'bn1.num_batches_tracked: expected I64 [] for resnet8, found F32 [4, 3, 3, 3]',
      changed(['bn1.num_batches_tracked', filter]),
    ],
  ])('a tensor %s', (_, message, dict) => {
    expect(() => fromStateDict(graph, dict)).toThrow(new UsageError(message));
  });
});

describe('initial weights', () => {
  const path = (name: string) => join(folder, name);

  test('are those of the file', () => {
    const file = path('resnet8.safetensors');
    writeFileSync(file, encodeWeights(graph, state, { width: 0.25, normalisation }));
    const read = readInitialWeights(file, graph);
    expectSame(read, state);
    expect(read.normalisation).toEqual(normalisation);
  });

  test('tell the normalisation only where the file holds one, of numbers by channel', () => {
    const tensors = toStateDict(graph, state);
    const normalisationOf = (metadata: Record<string, string>) =>
      decodeWeights(graph, encodeSafetensors({ metadata: new Map(Object.entries(metadata)), tensors }))
        .normalisation;
    const mean = '[0.5,0.4,0.3]';
    expect(normalisationOf({ mean, std: mean })).toEqual({ mean: [0.5, 0.4, 0.3], std: [0.5, 0.4, 0.3] });
    expect(normalisationOf({})).toBeUndefined();
    for (const std of ['', 'tensor(0.25)', '0.25', '[0.2,0.2]', '[0.2,0.2,null]', '{"0":1}']) {
      expect(normalisationOf({ mean, std }), std).toBeUndefined();
    }
  });

  test('that have seen other images are told, and not where the figures were only rounded', () => {
    const of = (mean: number[], std = [0.247, 0.243, 0.261]) => ({ mean, std });
    const data = of([0.49139968, 0.48215841, 0.44653091]);
    const warning = (given?: typeof data) =>
      normalisationWarning('a.safetensors', { ...state, normalisation: given }, data);
    expect(warning()).toBeUndefined();
    expect(warning(of([0.491, 0.482, 0.447]))).toBeUndefined();
    expect(warning(of([0.485, 0.456, 0.406]))).toBe(
      "init: expected weights of images with the data set's mean [0.4914, 0.4822, 0.4465] and deviation [0.2470, 0.2430, 0.2610], got mean [0.4850, 0.4560, 0.4060] and deviation [0.2470, 0.2430, 0.2610] in a.safetensors; training goes on with the data set's",
    );
    expect(warning(of([...data.mean], [0.247, 0.243, 0.2]))).toContain(
      'deviation [0.2470, 0.2430, 0.2000] in',
    );
  });

  test.each([
    ['nowhere', 'no such file; expected the path of a safetensors file'],
    ['', 'is a folder; expected the path of a safetensors file'],
    ['short', "expected 8 bytes of a header's length, got a file of 5 bytes"],
    ['other', 'conv1.weight: expected F32 [4, 3, 3, 3] for resnet8, found F32 [16, 3, 3, 3]'],
  ])('of the file "%s" are refused, with its name', (name, message) => {
    writeFileSync(path('short'), 'short');
    const wide = buildModel({ name: 'resnet8', width: 1, classes: 10 });
    writeFileSync(path('other'), encodeWeights(wide, randomState(wide, 1), { width: 1, normalisation }));
    const file = path(name);
    expect(() => readInitialWeights(file, graph)).toThrow(new UsageError(`${file}: ${message}`));
  });
});

const SCRIPT = fromPackage('tests', 'models', 'state-dict.py');
/** Where scripts/python-packages.sh puts safetensors. */
const PACKAGES = fromPackage('build', 'python');
const python = findTorchPython();

function runPython(program: string, ...options: readonly string[]) {
  const PYTHONPATH = [PACKAGES, fromPackage('bench', 'peers')].join(delimiter);
  return spawnSync(program, ['-B', ...options], { encoding: 'utf8', env: { ...process.env, PYTHONPATH } });
}

const hasSafetensors = python && runPython(python.program, '-c', 'import safetensors').status === 0;

describe.skipIf(!hasSafetensors)('with PyTorch and its safetensors', () => {
  const CLASSES = 11;
  const IMAGES = 4;
  const SEED = 6;
  const split = randomSplit(SEED, IMAGES, CLASSES);
  const fileOf = (name: string, origin: 'ours' | 'theirs') => join(folder, `${name}-${origin}.safetensors`);
  let engine: Engine;
  const states = new Map<ModelName, ModelState>();
  /** Logits by image and class, [IMAGES, CLASSES]. */
  let answers: Record<string, { readonly ours: number[][]; readonly theirs: number[][] }>;

  beforeAll(async () => {
    engine = await loadEngine('wasm');
    for (const [name, width] of models) {
      const graph = buildModel({ name, width, classes: CLASSES });
      const state = stateOnImages(graph);
      states.set(name, state);
      writeFileSync(fileOf(name, 'ours'), encodeWeights(graph, state, { width, normalisation }));
    }
    const images = { dtype: 'F32', shape: [IMAGES, 3, 32, 32], data: normalisedPlanes(split) } as const;
    writeFileSync(
      join(folder, 'images.safetensors'),
      encodeSafetensors({ metadata: new Map(), tensors: new Map([['images', images]]) }),
    );
    const setup = { folder, models: Object.fromEntries(models), classes: CLASSES };
    const { status, stdout, stderr } = runPython(python!.program, SCRIPT, JSON.stringify(setup));
    if (status !== 0) throw new Error(stderr);
    answers = JSON.parse(stdout);
  }, 180_000);

  const replicaOf = (graph: Graph, { weights, statistics }: ModelState) =>
    engine.createReplica({
      ...{ graph, normalisation, parameters: weights, statistics },
      gradient: new Float32Array(graph.parameterLength),
    });

  /**
   * A random state whose last logit is 0 for every image, with running statistics of the images: so their signal comes
   * through all layers.
   */
  function stateOnImages(graph: Graph): ModelState {
    const state = randomState(graph, SEED);
    for (const { offset, size } of graph.layers.at(-1)!.parameters) {
      state.weights.fill(0, offset + size - size / CLASSES, offset + size);
    }
    const replica = replicaOf(graph, state);
    for (let pass = 0; pass < 30; pass++) replica.gradient([batchOf(split)], IMAGES);
    replica.dispose();
    return state;
  }

  /** Float32 [n, 3, 32, 32] in bytes. */
  function normalisedPlanes({ images }: Split): Uint8Array {
    const { mean, std } = normalisation;
    const values = Float32Array.from(images, (byte, index) => {
      const channel = Math.floor((index % IMAGE_BYTES) / 1024);
      return (byte / 255 - mean[channel]) / std[channel];
    });
    return new Uint8Array(values.buffer);
  }

  /**
   * An engine tells losses: that of class c is log(sum of exp(logits)) - logit c. The last logit is 0, so that the loss of
   * its class less that of another is the other's logit.
   */
  function logitsOf(graph: Graph, state: ModelState): number[][] {
    const replica = replicaOf(graph, state);
    const losses = Array.from({ length: IMAGES }, (_, image) =>
      Array.from({ length: CLASSES }, (_, label) => {
        const labelled = { ...split, labels: new Uint8Array(IMAGES).fill(label) };
        return replica.evaluate({ split: labelled, indices: Uint32Array.of(image) }).lossSum;
      }),
    );
    replica.dispose();
    return losses.map((ofImage) => ofImage.map((loss) => ofImage[CLASSES - 1] - loss));
  }

  function expectClose(ours: readonly number[][], theirs: readonly number[][]) {
    const differences = ours.flatMap((row, image) =>
      row.map((logit, label) => Math.abs(logit - theirs[image][label])),
    );
    expect(differences).toHaveLength(IMAGES * CLASSES);
    expect(Math.max(...differences)).toBeLessThan(1e-4);
    // So much does it matter what the image is.
    const spread = theirs[0].map((logit, label) => Math.abs(logit - theirs[1][label]));
    expect(Math.max(...spread)).toBeGreaterThan(0.03);
  }

  test.each(models)('%s, width %f: PyTorch loads our file and computes our logits', (name, width) => {
    const graph = buildModel({ name, width, classes: CLASSES });
    expectClose(logitsOf(graph, states.get(name)!), answers[name].ours);
  });

  test.each(models)(
    "%s, width %f: PyTorch's file gives its logits here, and comes back to it",
    (name, width) => {
      const graph = buildModel({ name, width, classes: CLASSES });
      const file = fileOf(name, 'theirs');
      const theirs = decodeSafetensors(readFileSync(file)).tensors;
      const counts = [...theirs.keys()].filter((tensor) => tensor.endsWith('num_batches_tracked'));
      expect(counts).toHaveLength(graph.layers.filter(({ kind }) => kind === 'batchNorm').length);
      const read = readInitialWeights(file, graph);
      expectClose(logitsOf(graph, read), answers[name].theirs);
      for (const [tensor, { shape, data }] of toStateDict(graph, read)) {
        expect(theirs.get(tensor)!.shape).toEqual(shape);
        expect(Buffer.compare(theirs.get(tensor)!.data, data), tensor).toBe(0);
      }
    },
  );
});
