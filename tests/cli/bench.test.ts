// `gradamp bench` as a user meets it.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { isBuilt } from '../../src/engines/torch/load.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const TINY = ['--model', 'resnet8', '--width', '0.125', '--batch', '4', '--engine', 'tfjs'];

const folder = mkdtempSync(join(tmpdir(), 'gradamp-bench-'));
afterAll(() => rmSync(folder, { recursive: true }));

function bench(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'bench', ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('wrong input is one line, exit code 2', () => {
  test.each([
    [
      'step --batch 0',
      "option '--batch <n>' argument '0' is invalid. Expected a whole number of at least 1.",
    ],
    [
      'step --workers 3 --batch 2',
      'options: batchSize: expected at least one image for each of the 3 devices, got 2; use fewer devices or a larger batch',
    ],
    [
      'peers --peers torch,jax',
      "option '--peers <list>' argument 'torch,jax' is invalid. Expected any of " +
        'torch,torch-channels-last,torch-compile,torch-compile-graph,torch-cuda-graph,torch-ddp,tfjs-stock, got jax.',
    ],
    [
      'many --runs 1,0',
      "option '--runs <list>' argument '1,0' is invalid. Expected a whole number from 1 to 64.",
    ],
    [
      'step --precision bf16',
      "option '--precision <name>' argument 'bf16' is invalid. Allowed choices are float32, tf32, bfloat16.",
    ],
    [
      'update --parameters 16 --workers 2',
      'expected from 16 parameters to 4 GiB of vectors for each of the 2 workers, got 0 parameters for worker 0; ' +
        'use another size or number of workers',
    ],
  ])('gradamp bench %s', (line, message) => {
    expect(bench(...line.split(' '))).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  });
});

test('step: figures of whole steps on two workers, a share of the peak, a profile and its trace', () => {
  const options = ['--workers', '2', '--samples', '2', '--steps', '1', '--profile', 'trace.json', '--json'];
  const { status, stdout } = bench('step', ...TINY, ...options);
  expect(status).toBe(0);
  const { n, workers, parameters, speed, peak, share, profile, machine, versions } = JSON.parse(stdout);
  expect({ n, workers, parameters }).toEqual({ n: 2, workers: 2, parameters: 1420 });
  expect(speed.milliseconds).toHaveLength(2);
  expect(speed.medianMilliseconds).toBeCloseTo((speed.milliseconds[0] + speed.milliseconds[1]) / 2, 9);
  expect(speed.imagesPerSecond).toBeCloseTo(4000 / speed.medianMilliseconds, 6);
  expect(share).toBeCloseTo(speed.gflops / peak.gflops, 10);
  expect(peak.source).toMatch(/^2 processes at once: float32 matMul of 512x512, wasm/);
  expect(speed.peakBytes).toBeGreaterThan(50 * 2 ** 20);
  expect(profile.images).toBe(2);
  expect(machine.cores).toBeGreaterThan(0);
  expect(versions.node).toBe(process.versions.node);
  const { traceEvents } = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8'));
  expect(traceEvents.filter(({ cat }: { cat: string }) => cat === 'step')).toHaveLength(1);
});

test('update: milliseconds and the share of the floor that was measured beside it, saved where asked', () => {
  const options = [
    '--parameters',
    '4096',
    '--workers',
    '2',
    '--samples',
    '2',
    '--analysis',
    '--save',
    'kept',
  ];
  const { status, stdout } = bench('update', ...options);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^Update of 4,096 parameters, 2 workers, with the accumulators of an analysis: /);
  const [file] = readdirSync(join(folder, 'kept'));
  expect(file).toMatch(/-\d{4}-\d\d-\d\d-update-4096-workers-2-analysis\.json$/);
  const { rows, floor, traffic } = JSON.parse(readFileSync(join(folder, 'kept', file), 'utf8'));
  // Weights, velocity, S and A read and written, two gradients read.
  expect(traffic).toBe(4 * 4096 * (2 * 4 + 2));
  const [{ milliseconds, share }] = rows;
  const updaters = rows.map(({ updater }: { updater: string }) => updater);
  expect(updaters).toEqual(isBuilt() ? ['typescript', 'native'] : ['typescript']);
  const shares = [0, 1].map((i) => floor.milliseconds[i] / milliseconds[i]);
  expect(share.median).toBeCloseTo((shares[0] + shares[1]) / 2, 10);
});

test('analysis: both kinds of epoch, and the choice at the end of one', () => {
  const { status, stdout } = bench('analysis', ...TINY, '--pairs', '1', '--steps', '2', '--json');
  expect(status).toBe(0);
  const { n, steps, ratio, plainMilliseconds, analysisMilliseconds, choiceMilliseconds } = JSON.parse(stdout);
  expect({ n, steps }).toEqual({ n: 1, steps: 2 });
  expect(ratio.median).toBeCloseTo(analysisMilliseconds[0] / plainMilliseconds[0], 10);
  expect(choiceMilliseconds).toBeGreaterThan(0);
  expect(choiceMilliseconds).toBeLessThan(analysisMilliseconds[0]);
});

test('many: what runs train together, by their number, and the gain over the first', () => {
  const { status, stdout } = bench(
    'many',
    ...TINY,
    ...['--runs', '1,2', '--samples', '1', '--steps', '2', '--json'],
  );
  expect(status).toBe(0);
  const { n, steps, rows } = JSON.parse(stdout);
  expect({ n, steps }).toEqual({ n: 1, steps: 2 });
  const [one, two] = rows;
  expect([one.runs, two.runs]).toEqual([1, 2]);
  expect(one.gain).toBe(1);
  expect(two.gain).toBeCloseTo(two.imagesPerSecond.median / one.imagesPerSecond.median, 10);
  // Of two processes.
  expect(two.peakBytes).toBeGreaterThan(1.5 * one.peakBytes);
  expect(two.devicePeakBytes).toBeNull();
});

test('peak: the fastest product of what the engine computes with', () => {
  const { status, stdout } = bench('peak', '--engine', 'tfjs');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^\d+\.\d GFLOP\/s: float32 matMul of 512x512, wasm/);
});

test('leak: what is held after every hundredth step, with the engine that was asked for', () => {
  const options = ['--model', 'resnet8', '--width', '0.125', '--batch', '4', '--steps', '200'];
  const { status, stdout } = bench('leak', ...options, '--engine', 'tfjs', '--json');
  expect(status).toBe(0);
  const { steps, batch, engine, samples, residentBytesPerStep, flat } = JSON.parse(stdout);
  expect({ steps, batch, flat }).toEqual({ steps: 200, batch: 4, flat: true });
  expect(engine).toMatch(/wasm/);
  expect(samples.map(({ step }: { step: number }) => step)).toEqual([0, 100, 200]);
  expect(samples[0]).toMatchObject({ tensors: 0, tensorBytes: 0 });
  expect(samples[0].heapBytes).toBeGreaterThan(0);
  const [first, , last] = samples.map(({ residentBytes }: { residentBytes: number }) => residentBytes);
  expect(residentBytesPerStep).toBeCloseTo((last - first) / 200, 6);
});

test('checkpoint: writes and reads beside plain ones, and the size over that of the numbers', () => {
  const { status, stdout } = bench(
    'checkpoint',
    '--model',
    'resnet20',
    '--pairs',
    '2',
    '--dir',
    '.',
    '--json',
  );
  expect(status).toBe(0);
  const { n, parameters, bytes, numberBytes, cold, rows } = JSON.parse(stdout);
  expect({ n, parameters }).toEqual({ n: 2, parameters: 272_474 });
  // Two vectors, and mean and variance of 784 channels.
  expect(numberBytes).toBe(4 * (2 * 272_474 + 2 * 784));
  expect(bytes).toBeGreaterThan(numberBytes);
  expect(bytes).toBeLessThan(1.01 * numberBytes);
  expect(typeof cold).toBe('boolean');
  expect(rows.map(({ what }: { what: string }) => what)).toEqual(['write', 'read', 'read into memory']);
  for (const { milliseconds, plainMilliseconds, megabytesPerSecond, share } of rows) {
    const [first, second] = [0, 1].map((pair) => plainMilliseconds[pair] / milliseconds[pair]);
    expect(share.median).toBeCloseTo((first + second) / 2, 10);
    expect(megabytesPerSecond).toBeCloseTo(bytes / ((milliseconds[0] + milliseconds[1]) / 2) / 1e3, 6);
  }
  expect(readdirSync(folder).filter((name) => name.startsWith('gradamp-bench-'))).toEqual([]);
});
