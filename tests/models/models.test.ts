import { describe, expect, it } from 'vitest';
import type { ModelName } from '../../src/config/schema.ts';
import { type CandidateOptions, candidates, DEFAULT_CANDIDATES } from '../../src/models/candidates.ts';
import { SEGMENT_ALIGNMENT, sizeOf } from '../../src/models/graph.ts';
import { buildModel, modelNames } from '../../src/models/index.ts';
import { estimatePassBytes, summarise } from '../../src/models/summary.ts';

/** anchors.md and results.json: parameters for 10 and 100 classes, MACs for 10, convolutions, batch norms. */
const PAPER_MODELS: [ModelName, number, number, number, number, number][] = [
  ['vgg19', 20_040_522, 20_086_692, 398_136_320, 16, 16],
  ['resnet18', 11_173_962, 11_220_132, 555_422_720, 20, 20],
  ['resnet34', 21_282_122, 21_328_292, 1_159_402_496, 36, 36],
  ['resnet50', 23_520_842, 23_705_252, 1_297_829_888, 53, 53],
  ['resnet101', 42_512_970, 42_697_380, 2_509_983_744, 104, 104],
];

describe.each(PAPER_MODELS)('%s', (name, parameters10, parameters100, macs, convolutions, batchNorms) => {
  const graph = buildModel({ name, width: 1, classes: 10 });

  it('has exactly the parameters of the reference model', () => {
    expect(graph.parameterCount).toBe(parameters10);
    expect(buildModel({ name, width: 1, classes: 100 }).parameterCount).toBe(parameters100);
  });

  it('has the multiply-adds of the reference model', () => {
    expect(summarise(graph).macs).toBe(macs);
  });

  it('has the layers of the reference model, all of them candidates', () => {
    const kinds = graph.layers.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'conv2d')).toHaveLength(convolutions);
    expect(kinds.filter((kind) => kind === 'batchNorm')).toHaveLength(batchNorms);
    expect(kinds.filter((kind) => kind === 'linear')).toHaveLength(1);
    expect(candidates(graph).map(({ name }) => name)).toEqual(graph.layers.map(({ name }) => name));
  });
});

it('counts the small networks by hand', () => {
  // Stem 432 + 32; a block of c channels 18 c^2 + 4 c; a first block of a stage 13.5 c^2 + 4 c + projection
  // c^2 / 2 + 2 c, with c^2 the square of its outputs; linear 650.
  const first = (c: number) => 13.5 * c * c + 4 * c + (c * c) / 2 + 2 * c;
  const block = (c: number) => 18 * c * c + 4 * c;
  const resnet8 = 464 + block(16) + first(32) + first(64) + 650;
  expect(buildModel({ name: 'resnet8', width: 1, classes: 10 }).parameterCount).toBe(resnet8);
  const resnet20 = resnet8 + 2 * (block(16) + block(32) + block(64));
  expect(buildModel({ name: 'resnet20', width: 1, classes: 10 }).parameterCount).toBe(resnet20);
});

describe.each(modelNames)('%s', (name) => {
  const graph = buildModel({ name, width: 0.25, classes: 10 });

  it('lays its parameters out without overlap, every tensor on a 64-byte boundary', () => {
    let end = 0;
    for (const { offset, size, shape } of graph.layers.flatMap(({ parameters }) => parameters)) {
      expect(offset % SEGMENT_ALIGNMENT).toBe(0);
      expect(offset).toBeGreaterThanOrEqual(end);
      expect(offset - end).toBeLessThan(SEGMENT_ALIGNMENT);
      expect(size).toBe(sizeOf(shape));
      end = offset + size;
    }
    expect(graph.parameterLength - end).toBeLessThan(SEGMENT_ALIGNMENT);
    expect(graph.parameterLength).toBeGreaterThanOrEqual(end);
  });

  it('scales every convolution with the width, and keeps the classes', () => {
    const full = buildModel({ name, width: 1, classes: 10 });
    for (const [index, layer] of graph.layers.entries()) {
      const [outputs] = layer.parameters[0].shape;
      const [reference] = full.layers[index].parameters[0].shape;
      expect(outputs).toBe(layer.kind === 'linear' ? 10 : reference / 4);
    }
  });
});

it('names layers as the PyTorch models do', () => {
  const names = (name: ModelName) =>
    buildModel({ name, width: 1, classes: 10 }).layers.map((layer) => layer.name);
  expect(names('vgg19').slice(0, 6)).toEqual([0, 1, 3, 4, 7, 8].map((index) => `features.${index}`));
  expect(names('vgg19').slice(-2)).toEqual(['features.50', 'classifier']);
  expect(names('resnet18').slice(0, 2)).toEqual(['conv1', 'bn1']);
  expect(names('resnet18')).toContain('layer2.0.shortcut.0');
  expect(names('resnet101')).toContain('layer3.22.conv3');
});

it('measures no bias in front of a batch norm, whose true gradient is 0', () => {
  const measured = candidates(buildModel({ name: 'vgg19', width: 1, classes: 10 })).map(
    ({ kind, measured }) => `${kind} ${measured.map(({ role }) => role)}`,
  );
  expect(new Set(measured)).toEqual(
    new Set(['conv2d weight', 'batchNorm weight,bias', 'linear weight,bias']),
  );
});

describe('candidates', () => {
  const graph = buildModel({ name: 'vgg19', width: 1 / 16, classes: 10 });
  const named = (options: Partial<CandidateOptions>) =>
    candidates(graph, { ...DEFAULT_CANDIDATES, ...options }).map(({ name, measured }) => ({
      name,
      measured: measured.map((tensor) => tensor.name),
    }));
  const tensors = (layer: string, ...roles: string[]) => roles.map((role) => `${layer}.${role}`);

  it('are the layers of the kinds asked for', () => {
    expect(named({ candidates: ['linear'] })).toEqual([
      {
        name: 'classifier',
        measured: tensors('classifier', 'weight', 'bias'),
      },
    ]);
    expect(named({ candidates: ['conv2d', 'linear'] })).toHaveLength(17);
    expect(named({ candidates: ['batchNorm'] })).toHaveLength(16);
  });

  it('measure the weight alone where asked to, and stand for the whole layer', () => {
    const [, batchNorm] = named({ pooling: 'weight' });
    expect(batchNorm).toEqual({
      name: 'features.1',
      measured: tensors('features.1', 'weight'),
    });
  });

  it('are single tensors where asked to', () => {
    const [convolution, gamma, beta] = named({ pooling: 'tensor' });
    expect(convolution.name).toBe('features.0.weight');
    expect(gamma).toEqual({
      name: 'features.1.weight',
      measured: ['features.1.weight'],
    });
    expect(beta.name).toBe('features.1.bias');
    expect(named({ pooling: 'tensor', normalisedBiases: true })[1].name).toBe('features.0.bias');
  });

  it('measure a bias in front of a batch norm where asked to', () => {
    expect(named({})[0].measured).toEqual(tensors('features.0', 'weight'));
    expect(named({ normalisedBiases: true })[0].measured).toEqual(tensors('features.0', 'weight', 'bias'));
  });
});

it('estimates the memory of a pass in proportion to its samples', () => {
  const graph = buildModel({ name: 'resnet18', width: 1, classes: 10 });
  const at = (samples: number) => estimatePassBytes(graph, samples);
  expect(at(64) - at(32)).toBeCloseTo(32 * (at(2) - at(1)), -3);
  // Saved for the reverse sweep: the outputs of every convolution and ReLU, of 64 KiB elements in the first stage
  // (ten of them) and half as much in each stage behind it (nine, with the shortcut's convolution).
  const saved = 4 * 65536 * (10 + 9 / 2 + 9 / 4 + 9 / 8);
  expect(at(2) - at(1)).toBeGreaterThan(saved);
  expect(at(2) - at(1)).toBeLessThan(1.5 * saved);
});
