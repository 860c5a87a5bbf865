// The folder of a run that is killed, resumed, or has no space to write: in the end it is the folder of a run that
// nothing befell.

import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { encodeEvent } from '../../src/training/event.ts';
import { frameRecord } from '../../src/training/event-file.ts';
import type { EpochTimings, RunSummary } from '../../src/training/metrics.ts';
import { RunDirectory } from '../../src/training/run-directory.ts';
import { canLimit, limitFileSize } from './file-size-limit.ts';
import { metrics, selection } from './fixtures.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradamp-resumption-'));
  path = join(folder, 'run');
});
afterEach(() => rmSync(folder, { recursive: true }));

const CONFIG = 'model: resnet8\n';
const read = (name: string, of = path) => readFileSync(join(of, name), 'utf8');
const eventFiles = () => readdirSync(path).filter((name) => name.startsWith('events'));

/** Numbers whose digits do not end soon. */
const epochs = [1, 2, 3, 4].map((epoch) => ({
  ...metrics,
  epoch,
  learningRate: 0.1 / epoch,
  trainLoss: epoch === 2 ? null : Math.sin(epoch),
  testAccuracy: Math.exp(-epoch),
}));
const timings: readonly EpochTimings[] = epochs.map(({ epoch }) => ({
  epoch,
  seconds: 10 / 3 + epoch * 1e-9,
  imagesPerSecond: 1e6 / 7,
}));
/** At the ends of epochs 1 and 3. */
const selections = [1, 3].map((epoch) => ({ ...selection, epoch, noiseFloor: epoch / 7 }));
const summary = { name: 'run', epochs: 4, stopped: false } as RunSummary;

function train(run: RunDirectory, first: number, last: number): void {
  for (let epoch = first; epoch <= last; epoch++) {
    const chosen = selections.find((selection) => selection.epoch === epoch);
    if (chosen) run.appendSelection(chosen);
    run.appendEpoch(epochs[epoch - 1], timings[epoch - 1]);
  }
}

/** As it comes back from a checkpoint. */
const progressAt = (epoch: number) =>
  structuredClone({
    history: epochs.slice(0, epoch),
    timings: timings.slice(0, epoch),
    selections: selections.filter((selection) => selection.epoch <= epoch),
  });

const FOLLOWING = ['config.yaml', 'metrics.jsonl', 'metrics.csv', 'timings.jsonl', 'selections.jsonl'];

describe('a run that was killed and goes on', () => {
  it.each([1, 2, 3, 4])('from epoch %i has the files of one that was not, to the byte', async (kept) => {
    const whole = RunDirectory.create(join(folder, 'whole'), CONFIG);
    train(whole, 1, 4);

    train(RunDirectory.create(path, CONFIG), 1, 3);
    // Killed while it wrote, and while it replaced.
    appendFileSync(join(path, 'metrics.jsonl'), '{"epoch":4,"pha');
    appendFileSync(join(path, 'metrics.csv'), '4,2,0.0');
    writeFileSync(join(path, 'timings.jsonl.tmp'), '{"ep');
    const run = await RunDirectory.reopen(path, CONFIG, progressAt(kept));
    train(run, kept + 1, 4);
    for (const name of FOLLOWING) expect(read(name), name).toBe(read(name, whole.path));
    expect(readdirSync(path).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('holds the epochs of the checkpoint and no others before it trains', async () => {
    train(RunDirectory.create(path, CONFIG), 1, 4);
    await RunDirectory.reopen(path, CONFIG, progressAt(2));
    const lines = (name: string) => read(name).trimEnd().split('\n');
    expect(lines('metrics.jsonl').map((line) => JSON.parse(line))).toEqual(epochs.slice(0, 2));
    expect(lines('metrics.csv').map((line) => line.split(',')[0])).toEqual(['epoch', '1', '2']);
    expect(lines('timings.jsonl').map((line) => JSON.parse(line))).toEqual(timings.slice(0, 2));
    expect(lines('selections.jsonl').map((line) => JSON.parse(line))).toEqual(selections.slice(0, 1));
  });

  it('gets its files back where they were lost', async () => {
    train(RunDirectory.create(path, CONFIG), 1, 2);
    for (const name of FOLLOWING) unlinkSync(join(path, name));
    await RunDirectory.reopen(path, CONFIG, progressAt(2));
    expect(read('config.yaml')).toBe(CONFIG);
    expect(read('metrics.jsonl')).toBe(
      epochs
        .slice(0, 2)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(''),
    );
  });

  it('without a complete epoch has no files of epochs', async () => {
    train(RunDirectory.create(path, CONFIG), 1, 3);
    const run = await RunDirectory.reopen(path, CONFIG, progressAt(0));
    expect(
      readdirSync(path)
        .filter((name) => !name.startsWith('events'))
        .sort(),
    ).toEqual(['config.yaml', 'log.jsonl']);
    train(run, 1, 1);
    expect(read('metrics.csv').split('\n')).toHaveLength(3);
  });

  it('is no longer complete, and has the config that it goes on with', async () => {
    const run = RunDirectory.create(path, CONFIG);
    train(run, 1, 4);
    await run.writeSummary(summary);
    expect(RunDirectory.holds(path)).toBe('complete');
    await RunDirectory.reopen(path, 'model: resnet14\n', progressAt(4));
    expect(RunDirectory.holds(path)).toBe('unfinished');
    expect(readdirSync(path)).not.toContain('summary.json');
    expect(read('config.yaml')).toBe('model: resnet14\n');
  });

  it('keeps its log, without the line that was torn', async () => {
    const run = RunDirectory.create(path, CONFIG);
    run.log.warning('one');
    appendFileSync(join(path, 'log.jsonl'), '{"time":"20');
    const again = await RunDirectory.reopen(path, CONFIG, progressAt(0));
    again.log.warning('two');
    const messages = read('log.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).message);
    expect(messages).toEqual(['one', 'two']);
  });

  it('has an event file more, that takes over with the epoch it goes on with', async () => {
    train(RunDirectory.create(path, CONFIG), 1, 4);
    const [first] = eventFiles();
    const told = readFileSync(join(path, first));
    // Within the same second.
    await RunDirectory.reopen(path, CONFIG, progressAt(2));
    const files = eventFiles().sort();
    expect(files).toEqual([first, expect.any(String)]);
    expect(readFileSync(join(path, first))).toEqual(told);
    const events = readFileSync(join(path, files[1]));
    // Field 1, the wall time, of both: 9 bytes behind the record's header of 12.
    const wallTime = events.readDoubleLE(13);
    expect(events).toEqual(
      Buffer.concat(
        [
          { wallTime, step: 0, what: { fileVersion: 'brain.Event:2' } },
          { wallTime, step: 3, what: { sessionLog: 'start' } } as const,
        ].map((event) => frameRecord(encodeEvent(event))),
      ),
    );
  });

  it('needs a folder that can be written', async () => {
    const reopened = RunDirectory.reopen(path, CONFIG, progressAt(0));
    await expect(reopened).rejects.toThrow(UsageError);
    await expect(reopened).rejects.toThrow(
      `${path}: expected a folder that can be written, got ENOENT; choose another with --out`,
    );
  });
});

describe('a run whose disk is full', () => {
  afterEach(() => {
    if (canLimit) limitFileSize('unlimited');
  });
  const full = (name: string) => {
    rmSync(join(path, name), { force: true });
    symlinkSync('/dev/full', join(path, name));
  };
  let told: string[];
  const tell = (message: string) => told.push(message);
  beforeEach(() => {
    told = [];
  });

  it('goes on, tells of it once, and has everything when there is space', () => {
    const run = RunDirectory.create(path, CONFIG, tell);
    for (const name of ['metrics.jsonl', 'timings.jsonl', 'selections.jsonl']) full(name);
    train(run, 1, 2);
    const file = join(path, 'selections.jsonl');
    const reason = 'ENOSPC: no space left on device, write';
    expect(told).toEqual([
      `disk full: ${file}: ${reason}; training goes on; what is not written is kept in memory and written as soon as there is space`,
    ]);
    for (const name of ['metrics.jsonl', 'timings.jsonl', 'selections.jsonl']) unlinkSync(join(path, name));
    // Epoch 2 ends without a selection; what the first one left is written all the same.
    run.appendEpoch(epochs[2], timings[2]);
    expect(told.slice(1)).toEqual([`${path}: what was kept in memory is written`]);
    expect(read('metrics.jsonl')).toBe(
      epochs
        .slice(0, 3)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(''),
    );
    expect(read('timings.jsonl')).toBe(
      timings
        .slice(0, 3)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(''),
    );
    expect(read('selections.jsonl')).toBe(`${JSON.stringify(selections[0])}\n`);
    const log = read('log.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(log.filter(({ event }) => event.startsWith('disk'))).toMatchObject([
      { level: 'warning', event: 'disk-full', file: 'selections.jsonl', reason },
      { level: 'info', event: 'disk-recovered' },
    ]);
  });

  it('tells of it also where the log itself cannot be written', () => {
    const run = RunDirectory.create(path, CONFIG, tell);
    full('log.jsonl');
    run.log.warning('one');
    expect(told).toHaveLength(1);
    unlinkSync(join(path, 'log.jsonl'));
    run.finish();
    const events = read('log.jsonl')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).event);
    expect(events).toEqual(['warning', 'disk-full', 'disk-recovered']);
    expect(told).toHaveLength(2);
  });

  it.skipIf(!canLimit)('is reopened all the same, and has its files when there is space', async () => {
    train(RunDirectory.create(path, CONFIG), 1, 4);
    const names = FOLLOWING.slice(1);
    const before = names.map((name) => read(name));
    limitFileSize(0);
    const run = await RunDirectory.reopen(path, CONFIG, progressAt(2), tell);
    train(run, 3, 3);
    expect(told).toEqual([
      expect.stringMatching(/^cannot write: .*: EFBIG: file too large, .*; training goes on/),
    ]);
    expect(() => run.finish()).toThrow(
      /expected to complete log.jsonl, events\..*, timings.jsonl, selections.jsonl, got EFBIG/,
    );
    limitFileSize('unlimited');
    train(run, 4, 4);
    expect(told).toHaveLength(2);
    expect(names.map((name) => read(name))).toEqual(before);
    run.finish();
    expect(readFileSync(join(path, eventFiles().sort()[1]), 'latin1').split('loss/test')).toHaveLength(1 + 2);
  });

  it('does not end well: the error names what is not complete, and there is no summary', async () => {
    const run = RunDirectory.create(path, CONFIG, tell);
    for (const name of ['metrics.csv', 'timings.jsonl']) full(name);
    train(run, 1, 4);
    const ended = run.writeSummary(summary);
    await expect(ended).rejects.toThrow(
      `${path}: expected to complete metrics.csv, timings.jsonl, got ENOSPC: no space left on device, write; make space and resume the run, whose last checkpoint holds what is missing`,
    );
    await expect(ended).rejects.not.toThrow(UsageError);
    expect(RunDirectory.holds(path)).toBe('unfinished');
    for (const name of ['metrics.csv', 'timings.jsonl']) unlinkSync(join(path, name));
    await run.writeSummary(summary);
    expect(RunDirectory.holds(path)).toBe('complete');
    expect(read('metrics.csv').split('\n')).toHaveLength(1 + 4 + 1);
  });

  it('names the summary where that is what has no space', async () => {
    const run = RunDirectory.create(path, CONFIG, tell);
    train(run, 1, 4);
    symlinkSync('/dev/full', join(path, 'summary.json.tmp'));
    await expect(run.writeSummary(summary)).rejects.toThrow('expected to complete summary.json, got ENOSPC');
    expect(RunDirectory.holds(path)).toBe('unfinished');
  });
});

describe('what a folder holds', () => {
  it('nothing, where it is not there, is empty, or has but locks', () => {
    expect(RunDirectory.holds(path)).toBe('nothing');
    mkdirSync(path);
    expect(RunDirectory.holds(path)).toBe('nothing');
    writeFileSync(join(path, '.lock-host-12-34'), '');
    expect(RunDirectory.holds(path)).toBe('nothing');
    RunDirectory.check(path);
    RunDirectory.create(path, CONFIG);
  });

  it('an unfinished run, until a summary says that it was not stopped', () => {
    RunDirectory.create(path, CONFIG);
    expect(RunDirectory.holds(path)).toBe('unfinished');
    for (const [text, content] of [
      ['{"stopped":true}', 'unfinished'],
      ['{"stopp', 'unfinished'],
      ['{"stopped":false}', 'complete'],
    ]) {
      writeFileSync(join(path, 'summary.json'), text);
      expect(RunDirectory.holds(path), text).toBe(content);
    }
  });

  it('something else, where it is a file or has no config', () => {
    writeFileSync(path, '');
    expect(RunDirectory.holds(path)).toBe('something-else');
    expect(RunDirectory.holds(join(path, 'below'))).toBe('nothing');
    expect(RunDirectory.holds(folder)).toBe('something-else');
  });
});
