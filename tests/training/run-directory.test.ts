// The files of a run beside each other: what one says, the others say too.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunSummary } from '../../src/training/metrics.ts';
import { RunDirectory } from '../../src/training/run-directory.ts';
import { metrics, selection } from './fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-run-'));
const run = RunDirectory.create(join(folder, 'run'), 'model: resnet8\n');
beforeAll(async () => {
  run.appendSelection(selection);
  run.appendEpoch(metrics, { epoch: 6, seconds: 12.5, imagesPerSecond: 320 });
  run.appendEpoch(
    {
      ...metrics,
      epoch: 7,
      amplified: [],
      reduced: [],
      trainLoss: null,
      trainAccuracy: null,
      validationLoss: null,
      validationAccuracy: null,
    },
    { epoch: 7, seconds: 12, imagesPerSecond: 330 },
  );
  await run.writeSummary({ name: 'run', epochs: 7 } as RunSummary);
});
afterAll(() => rmSync(folder, { recursive: true }));

const text = (name: string) => readFileSync(run.file(name), 'utf8');

it('is a folder of these files', () => {
  const names = readdirSync(run.path).map((name) => name.replace(/^(events\.out\.tfevents)\..*/, '$1'));
  expect(names.sort()).toEqual([
    ...['config.yaml', 'events.out.tfevents', 'log.jsonl', 'metrics.csv', 'metrics.jsonl'],
    ...['selections.jsonl', 'summary.json', 'timings.jsonl'],
  ]);
});

it('metrics.csv has the columns and lines of metrics.jsonl', () => {
  const [header, ...rows] = text('metrics.csv').trimEnd().split('\n');
  const lines = text('metrics.jsonl').trimEnd().split('\n');
  expect(header.split(',')).toEqual(Object.keys(JSON.parse(lines[0])));
  expect(rows).toEqual([
    '6,2,0.1,false,conv1 linear,conv2,2,1.25,0.5,1.375,0.4375,1.5,0.375',
    '7,2,0.1,false,,,2,,,,,1.5,0.375',
  ]);
});

it('the log has every event in its order', () => {
  const events = text('log.jsonl')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).event);
  expect(events).toEqual(['selection', 'skipped-steps', 'epoch', 'skipped-steps', 'epoch', 'end']);
});

it('the event file has the tags of the analysis and of the epochs', () => {
  const name = readdirSync(run.path).find((name) => name.startsWith('events')) ?? '';
  const content = readFileSync(run.file(name), 'latin1');
  const count = (tag: string) => content.split(tag).length - 1;
  expect(['layers/z', 'layers/G', 'layers/chosen', 'loss/train', 'loss/test'].map(count)).toEqual([
    // layers/G is also the start of layers/Gprime; the second epoch has no training loss.
    1, 2, 1, 1, 2,
  ]);
});
