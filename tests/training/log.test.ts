import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { AppendFile } from '../../src/training/append-file.ts';
import { RunLog } from '../../src/training/log.ts';
import type { RunSummary } from '../../src/training/metrics.ts';
import { metrics, selection } from './fixtures.ts';

let folder: string;
let log: RunLog;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-log-'));
  log = new RunLog(new AppendFile(join(folder, 'log.jsonl'), { onFailure: () => {}, onRecovery: () => {} }));
  vi.useFakeTimers({ now: new Date('2026-01-02T03:04:05.678Z') });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const lines = () =>
  readFileSync(join(folder, 'log.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

const time = '2026-01-02T03:04:05.678Z';

it('the start says what runs where, with the hash of the config file', () => {
  const config = 'model: resnet8\n';
  const seeds = { weights: 1, order: 2, augmentation: 3, selection: 4, validation: 5 };
  log.start({ config, version: '0.1.0', engine: 'tfjs 4.22.0, wasm', devices: ['cpu', 'cpu'], seeds });
  expect(lines()).toEqual([
    {
      time,
      level: 'info',
      event: 'start',
      configHash: `sha256:${createHash('sha256').update(config).digest('hex')}`,
      version: '0.1.0',
      engine: 'tfjs 4.22.0, wasm',
      devices: ['cpu', 'cpu'],
      seeds,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      pid: process.pid,
    },
  ]);
});

it('a warning is a line of its own', () => {
  log.warning('threads: 8 are too many');
  expect(lines()).toEqual([{ time, level: 'warning', event: 'warning', message: 'threads: 8 are too many' }]);
});

it('an epoch is a line, and skipped steps are a warning before it', () => {
  log.epoch(metrics, { epoch: 6, seconds: 12.5, imagesPerSecond: 320 });
  log.epoch({ ...metrics, epoch: 7, skippedSteps: 0 }, { epoch: 7, seconds: 12, imagesPerSecond: 330 });
  const found = lines();
  expect(found.map(({ event, epoch }) => [event, epoch])).toEqual([
    ['skipped-steps', 6],
    ['epoch', 6],
    ['epoch', 7],
  ]);
  expect(found[0]).toEqual({ time, level: 'warning', event: 'skipped-steps', epoch: 6, steps: 2 });
  expect(found[1]).toMatchObject({
    level: 'info',
    amplifiedLayers: 2,
    reducedLayers: 1,
    testAccuracy: 0.375,
    seconds: 12.5,
  });
  expect(found[1]).toMatchObject({ validationLoss: 1.375, validationAccuracy: 0.4375 });
});

it('a selection names the chosen layers; without any it is a warning that says why', () => {
  log.selection(selection);
  const layers = selection.layers.map((layer) => ({ ...layer, z: 0, chosen: false }));
  log.selection({ ...selection, layers, degenerate: 'all layers have the same value' });
  expect(lines()).toEqual([
    {
      time,
      level: 'info',
      event: 'selection',
      epoch: 5,
      response: 'amplify',
      candidates: 3,
      chosen: ['conv1'],
    },
    {
      ...{
        time,
        level: 'warning',
        event: 'selection',
        epoch: 5,
        response: 'amplify',
        candidates: 3,
        chosen: [],
      },
      degenerate: 'all layers have the same value',
    },
  ]);
});

it('the ends of a run: asked to stop, complete, failed', () => {
  log.stop(3, 17);
  const best = { chosenOn: 'validation', epoch: 1, validationAccuracy: 0.75, testAccuracy: 0.625 } as const;
  log.end({ epochs: 2, finalTestAccuracy: 0.5, best, stopped: true } as RunSummary);
  log.error(new TypeError('worker 1 died'));
  log.error('no error object');
  const found = lines();
  expect(found.map(({ level, event }) => `${level} ${event}`)).toEqual([
    'warning stop',
    'info end',
    'error error',
    'error error',
  ]);
  expect(found[0]).toMatchObject({ epoch: 3, step: 17 });
  expect(found[1]).toMatchObject({ epochs: 2, finalTestAccuracy: 0.5, best, stopped: true });
  expect(found[2]).toMatchObject({ name: 'TypeError', message: 'worker 1 died' });
  expect(found[2].stack).toContain('log.test.ts');
  expect(found[3].message).toBe('no error object');
});

const resumption = {
  ...{ epoch: 4, step: 17, file: 'checkpoint-4-17', engine: 'native' },
  ...{ refused: [], devices: ['cpu'], workers: 2 },
  changes: [{ key: 'schedule.epochs', from: 8, to: 12 }],
};
const where = { node: process.version, platform: `${process.platform}-${process.arch}`, pid: process.pid };

it('a run that goes on says from where, and with what it has been told since', () => {
  log.resume(resumption);
  expect(lines()).toEqual([{ time, level: 'info', event: 'resume', ...resumption, ...where }]);
});

it('a checkpoint that was refused, or that there is none, makes it a warning', () => {
  const refused = [{ file: 'checkpoint-5-0', reason: 'expected 1000 bytes, got 512' }];
  log.resume({ ...resumption, refused });
  log.resume({ ...resumption, epoch: 0, step: 0, file: null });
  expect(lines().map(({ level, file, refused }) => [level, file, refused])).toEqual([
    ['warning', 'checkpoint-4-17', refused],
    ['warning', null, []],
  ]);
});

it('a checkpoint is a line, and a warning where it could not be written', () => {
  const written = { epoch: 4, step: 17, file: 'checkpoint-4-17', seconds: 0.25, bytes: 1234 };
  log.checkpoint(written);
  const reason = 'ENOSPC: no space left on device, write';
  log.checkpointFailed({ epoch: 5, step: 0, file: 'checkpoint-5-0', reason });
  expect(lines()).toEqual([
    { time, level: 'info', event: 'checkpoint', ...written },
    { time, level: 'warning', event: 'checkpoint-failed', epoch: 5, step: 0, file: 'checkpoint-5-0', reason },
  ]);
});

it('a disk that is full is a warning, and its end a line', () => {
  log.diskFull('metrics.jsonl', 'ENOSPC: no space left on device, write');
  log.diskRecovered();
  expect(lines()).toEqual([
    {
      ...{ time, level: 'warning', event: 'disk-full' },
      ...{ file: 'metrics.jsonl', reason: 'ENOSPC: no space left on device, write' },
    },
    { time, level: 'info', event: 'disk-recovered' },
  ]);
});
