// `gradamp export`: the weights of a run as a file, and what is wrong input.

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRun } from '../../src/cli/run-weights.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { buildModel } from '../../src/models/index.ts';
import { train } from '../../src/parallel/coordinator.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { decodeSafetensors } from '../../src/training/safetensors.ts';
import { readInitialWeights } from '../../src/training/weights-file.ts';
import { testConfig } from '../parallel/fixtures.ts';
import { gradamp as program } from './program.ts';

const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };
const folder = mkdtempSync(join(tmpdir(), 'gradamp-export-'));
afterAll(() => rmSync(folder, { recursive: true }));

const inFolder = (...parts: readonly string[]) => join(folder, ...parts);
const graph = buildModel({ name: 'resnet8', width: 0.25, classes: 10 });
let bestEpoch: number;

beforeAll(async () => {
  const dataDir = inFolder('data');
  await synthesize({ dataset: 'cifar10', directory: dataDir, seed: 2, train: 80, test: 20 });
  const config = { dataDir, validation: 13, batchSize: 20, devices: ['cpu', 'cpu'] };
  const schedule = [[2, 0.05, false, 1]];
  await train(testConfig({ ...config, schedule }), { directory: inFolder('run'), reporter: silent });
  bestEpoch = JSON.parse(readFileSync(inFolder('run', 'summary.json'), 'utf8')).best.epoch;
  for (const name of ['early', 'plain', 'changed']) {
    mkdirSync(inFolder(name));
    copyFileSync(inFolder('run', 'config.yaml'), inFolder(name, 'config.yaml'));
  }
  const text = readFileSync(inFolder('run', 'config.yaml'), 'utf8');
  writeFileSync(inFolder('plain', 'config.yaml'), text.replace(/validation: 13/, 'validation: 0'));
  writeFileSync(inFolder('changed', 'config.yaml'), text.replace('resnet8', 'resnet20'));
  copyFileSync(inFolder('run', 'checkpoint.msgpack'), inFolder('changed', 'checkpoint.msgpack'));
  // Where a folder is expected.
  writeFileSync(inFolder('file'), '');
});

async function gradamp(...options: string[]) {
  const { code: status, stdout, stderr } = await program(folder, ...options);
  return { status, stdout, stderr };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);

async function expectWeights(file: string, which: 'last' | 'best') {
  const read = readInitialWeights(file, graph);
  const expected = await readRun(inFolder('run'), which);
  for (const vector of ['weights', 'statistics'] as const) {
    expect(Buffer.compare(bytesOf(read[vector]), bytesOf(expected[vector])), vector).toBe(0);
  }
}

test('the last weights are written into the run, with the normalisation they were trained on, and a line says so', async () => {
  const before = readdirSync(inFolder('run'));
  const result = await gradamp('export', 'run', '--format', 'safetensors');
  const file = readFileSync(inFolder('run', 'weights.safetensors'));
  const bytes = file.length.toLocaleString('en-US');
  const line = `wrote run/weights.safetensors: resnet8 after 2 epochs, 47 tensors, ${bytes} bytes\n`;
  expect(result).toEqual({ status: 0, stdout: line, stderr: '' });
  expect(readdirSync(inFolder('run')).sort()).toEqual([...before, 'weights.safetensors'].sort());
  await expectWeights(inFolder('run', 'weights.safetensors'), 'last');
  const { normalisation } = (await readRun(inFolder('run'))).trainedOn;
  const { metadata, tensors } = decodeSafetensors(file);
  expect(tensors.size).toBe(47);
  expect(Object.fromEntries(metadata)).toEqual({
    ...{ format: 'pt', model: 'resnet8', width: '0.25', classes: '10' },
    ...{ mean: JSON.stringify(normalisation.mean), std: JSON.stringify(normalisation.std) },
  });
});

test('the best weights go into a file of their own, or into the one that is named, in place of what is there', async () => {
  const { status, stdout } = await gradamp('export', 'run', '--best');
  expect(status).toBe(0);
  const epochs = `${bestEpoch} epoch${bestEpoch === 1 ? '' : 's'}`;
  expect(stdout).toContain(`wrote run/best.safetensors: resnet8 after ${epochs} (best on validation), `);
  await expectWeights(inFolder('run', 'best.safetensors'), 'best');
  writeFileSync(inFolder('named'), 'old');
  expect((await gradamp('export', 'run', '--best', '--out', 'named')).status).toBe(0);
  expect(readFileSync(inFolder('named'))).toEqual(readFileSync(inFolder('run', 'best.safetensors')));
});

test.each([
  ['nowhere', 'nowhere: expected the folder of a run, found nothing'],
  ['data', 'data: expected the folder of a run, found no config.yaml in it'],
  [
    'early',
    'early: expected a complete or stopped run, found no checkpoint.msgpack in it; let it train first',
  ],
  [
    'plain --best',
    '--best: expected a run that chooses its best epoch on validation images, but plain has validation: 0 in its config.yaml; leave it out',
  ],
  [
    'changed',
    'changed: expected a checkpoint of resnet20 as its config.yaml says, got 5344 weights in place of 17824; has config.yaml been changed?',
  ],
  [
    'run --format onnx',
    "option '--format <name>' argument 'onnx' is invalid. Allowed choices are safetensors.",
  ],
  [
    'run --format safetensor',
    "option '--format <name>' argument 'safetensor' is invalid. Allowed choices are safetensors. Did you mean safetensors?",
  ],
  ['run --out=', '--out: expected the path of a file, got an empty one'],
  ['run --out data', 'data: expected the path of a file, found something else there'],
  ['run --out no/file', 'no/file: cannot be written; expected a name in a folder that is there'],
  ['run --out file/file', 'file/file: cannot be written; expected a name in a folder that is there'],
  ['', "missing required argument 'run'"],
])('`export %s` is wrong input: one line, exit code 2, nothing written', async (options, message) => {
  const before = readdirSync(folder);
  const result = await gradamp('export', ...options.split(' ').filter(Boolean));
  expect(result).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  expect(readdirSync(folder)).toEqual(before);
});
