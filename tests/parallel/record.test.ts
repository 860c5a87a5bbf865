// Recorded gradients on a full disk, stood in for by /dev/full: they are left out, and the run goes on.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { synthesize } from '../../src/data/synthetic.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { recordGradient, recordingWarning } from '../../src/parallel/record.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { testConfig } from './fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'gradamp-record-'));
const dataDir = join(folder, 'data');
beforeAll(() => synthesize({ dataset: 'cifar10', directory: dataDir, seed: 3, train: 60, test: 10 }));
afterAll(() => rmSync(folder, { recursive: true }));

/** No more room for this file. */
function fill(directory: string, file: string): void {
  mkdirSync(join(directory, 'gradients'), { recursive: true });
  rmSync(join(directory, 'gradients', file), { force: true });
  symlinkSync('/dev/full', join(directory, 'gradients', file));
}

const warning = (directory: string, file: string) =>
  `dumpGradients: ${join(directory, 'gradients', file)} could not be written (ENOSPC: no space left on device, write); training goes on, and what cannot be recorded is left out`;

describe.runIf(existsSync('/dev/full'))('gradients that the disk has no room for', () => {
  test('are left out, without a part of a file, and told of by the first', () => {
    const directory = join(folder, 'alone');
    fill(directory, 'step-000002.f32');
    fill(directory, 'step-000003.f32');
    for (const step of [1, 2, 3, 4]) {
      const gradients = () => [Float32Array.of(step, 0.5), Float32Array.of(1, 0.25)];
      recordGradient({ dumpGradients: [1, 9] }, step, { rank: 0, directory, gradients });
      expect(recordingWarning(directory) === undefined).toBe(step < 2);
    }
    expect(readdirSync(join(directory, 'gradients')).sort()).toEqual(['step-000001.f32', 'step-000004.f32']);
    const bytes = readFileSync(join(directory, 'gradients', 'step-000004.f32'));
    expect([bytes.length, bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([8, 5, 0.75]);
    expect(recordingWarning(directory)).toBe(warning(directory, 'step-000002.f32'));
    expect(recordingWarning(join(folder, 'another'))).toBeUndefined();
  });

  test('are one warning of a run, which trains to its end; so is the list of what they hold', async () => {
    const directory = join(folder, 'run');
    const messages: string[] = [];
    const reporter: Reporter = {
      ...{ update() {}, epochEnd() {}, selection() {}, close() {} },
      start: () => fill(directory, 'step-000002.f32'),
      message: (text) => messages.push(text),
    };
    const config = testConfig({
      ...{ dataDir, model: { name: 'resnet8', width: 0.125 }, batchSize: 20, microBatch: 10 },
      ...{ devices: ['cpu', 'cpu'], schedule: [[2, 0.05, false, 1]], dumpGradients: [2, 5] },
    });
    const { summary } = await train(config, { directory, reporter });
    expect(summary).toMatchObject({ epochs: 2, stopped: false });
    expect(messages).toEqual([`warning: ${warning(directory, 'step-000002.f32')}`]);
    const warnings = () =>
      readFileSync(join(directory, 'log.jsonl'), 'utf8')
        .split('\n')
        .filter((line) => line.includes('"event":"warning"'))
        .map((line) => JSON.parse(line).message);
    expect(warnings()).toEqual([warning(directory, 'step-000002.f32')]);
    const files = ['layout.json', 'step-000003.f32', 'step-000004.f32', 'step-000005.f32'];
    expect(readdirSync(join(directory, 'gradients')).sort()).toEqual(files);

    const again: Reporter = { ...reporter, start: () => fill(directory, 'layout.json') };
    await train(config, { directory, reporter: again, from: 'folder' });
    expect(warnings().slice(1)).toEqual([warning(directory, 'layout.json')]);
  });
});
