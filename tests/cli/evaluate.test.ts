// `gradamp evaluate`: the numbers of the run again, to the bit, and what they are made of.

import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeReport, type EvaluationReport, evaluateRun } from '../../src/cli/evaluate.ts';
import type { DatasetName } from '../../src/data/dataset.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { classAccuracies, confusionMatrix, confusionsByFrequency } from '../../src/training/evaluation.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { testConfig } from '../parallel/fixtures.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };
const folder = mkdtempSync(join(tmpdir(), 'gradamp-evaluate-'));
afterAll(() => rmSync(folder, { recursive: true }));

const dataOf = (dataset: string) => join(folder, `data-${dataset}`);
const runOf = (dataset: string) => join(folder, `run-${dataset}`);

/** Two workers, passes of 8: shares and last passes are of uneven sizes. */
async function trainOn(dataset: DatasetName, test: number, validation = 0) {
  await synthesize({ dataset, directory: dataOf(dataset), seed: 2, train: 80, test });
  const config = testConfig({
    dataset,
    dataDir: dataOf(dataset),
    validation,
    batchSize: 20,
    microBatch: 8,
    devices: ['cpu', 'cpu'],
    schedule: [[2, 0.05, false, 1]],
  });
  return train(config, { directory: runOf(dataset), reporter: silent });
}

const metrics = (run: string) =>
  JSON.parse(readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n')[1]);

function gradamp(...options: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

describe('a run on ten classes', () => {
  let report: EvaluationReport;
  beforeAll(async () => {
    await trainOn('cifar10', 61, 13);
    report = await evaluateRun(runOf('cifar10'));
  });

  test('has the accuracy and the loss of its last epoch, to the bit', () => {
    const { finalTestAccuracy } = JSON.parse(readFileSync(join(runOf('cifar10'), 'summary.json'), 'utf8'));
    expect(report.accuracy).toBe(finalTestAccuracy);
    expect(report.loss).toBe(metrics(runOf('cifar10')).testLoss);
    expect(report).toMatchObject({ samples: 61, epoch: 2, step: 0, synthetic: true, model: 'resnet8' });
  });

  test('has the figures of its best epoch too, and of the images held out', async () => {
    const { best } = JSON.parse(readFileSync(join(runOf('cifar10'), 'summary.json'), 'utf8'));
    const lines = readFileSync(join(runOf('cifar10'), 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const line = JSON.parse(lines[best.epoch - 1]);
    const found = gradamp('evaluate', 'run-cifar10', '--best', '--validation', '--json');
    expect(JSON.parse(found.stdout)).toMatchObject({
      ...{ weights: 'best', images: 'validation', epoch: best.epoch, samples: 13 },
      ...{ accuracy: line.validationAccuracy, loss: line.validationLoss },
    });
    const onTest = await evaluateRun(runOf('cifar10'), { weights: 'best' });
    expect([onTest.accuracy, onTest.loss]).toEqual([best.testAccuracy, line.testLoss]);
    const held = await evaluateRun(runOf('cifar10'), { images: 'validation' });
    expect([held.accuracy, held.loss]).toEqual([
      metrics(runOf('cifar10')).validationAccuracy,
      metrics(runOf('cifar10')).validationLoss,
    ]);
    expect(describeReport({ ...held, run: 'a', weights: 'best', epoch: 1 }).split('\n')[0]).toBe(
      'a: resnet8 after 1 epoch (best on validation), 13 validation images of cifar10 (synthetic data)',
    );
    // A class of about a tenth of the images has one or two of them.
    for (const { samples } of held.classes) expect([1, 2]).toContain(samples);
  });

  test('has a confusion matrix over all samples whose diagonal is what is right', () => {
    const { confusionMatrix: matrix, classes } = report;
    const labels = readFileSync(join(dataOf('cifar10'), 'test_batch.bin')).filter((_, i) => i % 3073 === 0);
    expect(matrix.flat().reduce((sum, count) => sum + count)).toBe(61);
    for (const { class: label, samples, correct, accuracy } of classes) {
      expect(samples).toBe(labels.filter((other) => other === label).length);
      expect(matrix[label].reduce((sum, count) => sum + count)).toBe(samples);
      expect(correct).toBe(matrix[label][label]);
      expect(accuracy).toBe(correct / samples);
    }
    const right = classes.reduce((sum, { correct }) => sum + correct, 0);
    expect(right / 61).toBe(report.accuracy);
  });

  test('names the classes as the data folder does, and by number without its label file', async () => {
    expect(report.classNames.slice(0, 2)).toEqual(['disc', 'square']);
    const bare = join(folder, 'bare');
    cpSync(dataOf('cifar10'), bare, { recursive: true });
    rmSync(join(bare, 'batches.meta.txt'));
    const again = await evaluateRun(runOf('cifar10'), { data: bare });
    expect(again.classNames).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect(again.accuracy).toBe(report.accuracy);
  });

  describe('on a set with other training images', () => {
    const other = join(folder, 'other');
    beforeAll(() => {
      cpSync(dataOf('cifar10'), other, { recursive: true });
      for (const file of readdirSync(other).filter((name) => name.startsWith('data_batch'))) {
        const darker = readFileSync(join(other, file)).map((byte, i) => (i % 3073 === 0 ? byte : byte >> 1));
        writeFileSync(join(other, file), darker);
      }
    });

    test('normalises by the numbers of the split it was trained on', async () => {
      const again = await evaluateRun(runOf('cifar10'), { data: other });
      expect([again.accuracy, again.loss]).toEqual([report.accuracy, report.loss]);
    });

    test('refuses to take any of them for those held out, and finds them in a copy of its own', async () => {
      const { status, stderr } = gradamp('evaluate', 'run-cifar10', '--validation', '--data', 'other');
      expect([status, stderr]).toEqual([
        2,
        "gradamp: --validation: expected the images that run-cifar10 was trained on, and so those that it held out, got another training split in other; name the run's own folder with --data\n",
      ]);
      const copy = join(folder, 'copy');
      cpSync(dataOf('cifar10'), copy, { recursive: true });
      const held = await evaluateRun(runOf('cifar10'), { images: 'validation', data: copy });
      expect(held.loss).toBe(metrics(runOf('cifar10')).validationLoss);
      // The same pictures with two labels exchanged would be held out otherwise.
      const batch = readFileSync(join(copy, 'data_batch_1.bin'));
      const second = [1, 2, 3, 4, 5, 6, 7].find((image) => batch[3073 * image] !== batch[0]) ?? 0;
      [batch[0], batch[3073 * second]] = [batch[3073 * second], batch[0]];
      writeFileSync(join(copy, 'data_batch_1.bin'), batch);
      await expect(evaluateRun(runOf('cifar10'), { images: 'validation', data: copy })).rejects.toThrow(
        /^--validation: expected the images that .* got another training split/,
      );
    });
  });

  test('is told as a table, and as JSON', () => {
    const { status, stdout, stderr } = gradamp('evaluate', 'run-cifar10');
    expect([status, stderr]).toEqual([0, '']);
    const lines = stdout.split('\n');
    expect(lines[0]).toBe('run-cifar10: resnet8 after 2 epochs, 61 test images of cifar10 (synthetic data)');
    expect(lines[1]).toBe(`accuracy ${(100 * report.accuracy).toFixed(2)}%, loss ${report.loss?.toFixed(3)}`);
    expect(lines[3]).toMatch(/^class +accuracy +disc +squar +trian/);
    expect(lines.length).toBe(3 + 2 + 10 + 3);
    const json = gradamp('evaluate', 'run-cifar10', '--json');
    expect(JSON.parse(json.stdout)).toEqual({ ...report, run: 'run-cifar10' });
  });

  test.each([
    ['nowhere', 'nowhere: expected the folder of a run, found nothing'],
    ['data-cifar10', 'data-cifar10: expected the folder of a run, found no config.yaml in it'],
    ['run-cifar10/config.yaml', 'run-cifar10/config.yaml: expected the folder of a run, found a file'],
    [
      'early',
      'early: expected a complete or stopped run, found no checkpoint.msgpack in it; let it train first',
    ],
    [
      'broken',
      'broken/checkpoint.msgpack: no checkpoint: expected a map that starts with the format gradamp-checkpoint',
    ],
    [
      'changed',
      'changed: expected a checkpoint of resnet20 as its config.yaml says, got 5344 weights in place of 272480; has config.yaml been changed?',
    ],
  ])('%s is no run to evaluate', (run, message) => {
    const copy = (file: string, to: string) =>
      copyFileSync(join(runOf('cifar10'), file), join(folder, to, file));
    for (const name of ['early', 'broken', 'changed']) {
      mkdirSync(join(folder, name), { recursive: true });
      copy('config.yaml', name);
    }
    writeFileSync(join(folder, 'broken/checkpoint.msgpack'), 'no checkpoint');
    copy('checkpoint.msgpack', 'changed');
    const config = readFileSync(join(runOf('cifar10'), 'config.yaml'), 'utf8');
    writeFileSync(
      join(folder, 'changed/config.yaml'),
      config.replace('resnet8', 'resnet20').replace(/width: .*/, 'width: 1'),
    );
    const result = gradamp('evaluate', run);
    expect(result).toEqual({ status: 2, stdout: '', stderr: `gradamp: ${message}\n` });
  });

  test('data that are not there are named', () => {
    const { status, stderr } = gradamp('evaluate', 'run-cifar10', '--data', 'elsewhere');
    expect(status).toBe(2);
    expect(stderr).toMatch(/^gradamp: elsewhere: expected a folder with CIFAR-10, found nothing; .*\n$/);
  });
});

test('of a hundred classes the worst ten and the most frequent confusions are told', async () => {
  const { summary } = await trainOn('cifar100', 300);
  const report = await evaluateRun(runOf('cifar100'));
  expect(report.accuracy).toBe(summary.finalTestAccuracy);
  const run = runOf('cifar100');
  await expect(evaluateRun(run, { images: 'validation' })).rejects.toThrow(
    `--validation: expected a run that holds images out, but ${run} has validation: 0 in its config.yaml; leave it out`,
  );
  await expect(evaluateRun(run, { weights: 'best' })).rejects.toThrow(
    `--best: expected a run that chooses its best epoch on validation images, but ${run} has validation: 0 in its config.yaml; leave it out`,
  );
  const [worst, confusions] = describeReport(report).split('\n\n').slice(1);
  expect(worst.split('\n').length).toBe(2 + 10);
  expect(confusions.split('\n').length).toBe(2 + 10);
  const most = Math.max(...report.confusionMatrix.flatMap((row, i) => row.filter((_, j) => i !== j)));
  expect(confusions.split('\n')[2].split(/ +/)[2]).toBe(String(most));
});

describe('of labels and predictions', () => {
  const labels = [0, 0, 1, 1, 1, 3];
  const predictions = Int32Array.of(0, 1, 1, 0, -1, 1);
  const matrix = confusionMatrix(labels, predictions, 4);

  test('the matrix counts by label and prediction, and leaves out what has none', () => {
    expect(matrix).toEqual([
      [1, 1, 0, 0],
      [1, 1, 0, 0],
      [0, 0, 0, 0],
      [0, 1, 0, 0],
    ]);
  });

  test('what has no prediction is wrong, and a class without samples has no accuracy', () => {
    expect(classAccuracies(labels, matrix)).toEqual([
      { class: 0, samples: 2, correct: 1, accuracy: 1 / 2 },
      { class: 1, samples: 3, correct: 1, accuracy: 1 / 3 },
      { class: 2, samples: 0, correct: 0, accuracy: null },
      { class: 3, samples: 1, correct: 0, accuracy: 0 },
    ]);
  });

  test('mistakes stand by frequency', () => {
    const found = confusionsByFrequency([
      [5, 1, 0],
      [0, 0, 3],
      [2, 0, 9],
    ]);
    expect(found.map(({ label, prediction, samples }) => [label, prediction, samples])).toEqual([
      [1, 2, 3],
      [2, 0, 2],
      [0, 1, 1],
    ]);
  });
});
