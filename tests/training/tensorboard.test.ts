// What TensorBoard is told about a run. That the real one reads it is shown by scripts/check-tensorboard.sh.

import { expect, it } from 'vitest';
import { epochScalars, selectionSummaries } from '../../src/training/tensorboard.ts';
import { metrics, selection } from './fixtures.ts';

it('an epoch is eleven scalars', () => {
  expect(epochScalars(metrics, 321.5)).toEqual([
    { kind: 'scalar', tag: 'loss/train', value: 1.25 },
    { kind: 'scalar', tag: 'loss/validation', value: 1.375 },
    { kind: 'scalar', tag: 'loss/test', value: 1.5 },
    { kind: 'scalar', tag: 'accuracy/train', value: 0.5 },
    { kind: 'scalar', tag: 'accuracy/validation', value: 0.4375 },
    { kind: 'scalar', tag: 'accuracy/test', value: 0.375 },
    { kind: 'scalar', tag: 'learning_rate', value: 0.1 },
    { kind: 'scalar', tag: 'images_per_second', value: 321.5 },
    { kind: 'scalar', tag: 'skipped_steps', value: 2 },
    { kind: 'scalar', tag: 'amplified_layers', value: 2 },
    { kind: 'scalar', tag: 'reduced_layers', value: 1 },
  ]);
});

it('what an epoch does not have is left out', () => {
  const absent = {
    ...{ trainLoss: null, trainAccuracy: null, validationLoss: null, validationAccuracy: null },
  };
  const tags = epochScalars({ ...metrics, ...absent }, 321.5).map(({ tag }) => tag);
  expect(tags.filter((tag) => /^(loss|accuracy)/.test(tag))).toEqual(['loss/test', 'accuracy/test']);
});

it('an analysis is three histograms over the candidate layers and a table of the chosen ones', () => {
  expect(selectionSummaries(selection)).toEqual([
    { kind: 'histogram', tag: 'layers/z', values: [1.25, -0.25, -1] },
    { kind: 'histogram', tag: 'layers/G', values: [0.5, 0.25, 0.125] },
    { kind: 'histogram', tag: 'layers/Gprime', values: [0.625, 0.375, 0.25] },
    {
      kind: 'text',
      tag: 'layers/chosen',
      text:
        '**1 of 3** layers chosen to be amplified\n\n' +
        '| layer | kind | z | G | Gprime | factor |\n|:--|:--|--:|--:|--:|--:|\n| conv1 | conv2d | 1.250 | 0.5000 | 0.6250 | 2.000 |',
    },
  ]);
});

it('an analysis of single tensors calls them so', () => {
  expect(selectionSummaries({ ...selection, pooling: 'tensor' }).at(-1)).toMatchObject({
    text: expect.stringMatching(/^\*\*1 of 3\*\* tensors chosen to be amplified\n\n\| tensor \| kind \|/),
  });
});

it('an analysis that could choose nothing says why, and what is not finite is in no histogram', () => {
  const layers = selection.layers.map((layer) => ({ ...layer, z: 0, G: Number.NaN, chosen: false }));
  const summaries = selectionSummaries({
    ...selection,
    layers,
    degenerate: 'a layer has a non-finite value',
  });
  expect(summaries.map(({ tag }) => tag)).toEqual(['layers/z', 'layers/Gprime', 'layers/chosen']);
  expect(summaries.at(-1)).toMatchObject({
    text: '**0 of 3** layers chosen to be amplified (no z-scores: a layer has a non-finite value)',
  });
});
