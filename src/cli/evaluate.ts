// `gradamp evaluate <run>`: images through the weights that a run left, class by class.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { readCifar } from '../data/cifar.ts';
import type { DatasetName } from '../data/dataset.ts';
import { describeLayout } from '../data/layout.ts';
import { checkValidation, type EvaluatedPart, partition } from '../data/partition.ts';
import { createEngine } from '../engines/index.ts';
import { UsageError } from '../errors.ts';
import type { Graph } from '../models/graph.ts';
import { buildModel } from '../models/index.ts';
import { checkEvaluationSize } from '../parallel/sizes.ts';
import { type Checkpoint, CheckpointError, readCheckpoint, trainedOn } from '../training/checkpoint.ts';
import {
  type ClassAccuracy,
  type Confusion,
  classAccuracies,
  confusionMatrix,
  confusionsByFrequency,
  evaluate,
} from '../training/evaluation.ts';
import { meanStatistics } from '../training/run-state.ts';
import { formatCount, formatLoss, formatNumberOf, formatPercent } from './format.ts';
import { formatTable } from './table.ts';

type Weights = 'last' | 'best';

const FILES: Record<Weights, string> = { last: 'checkpoint.msgpack', best: 'best.msgpack' };

/** `--json` prints it. */
export interface EvaluationReport {
  readonly run: string;
  readonly model: string;
  readonly dataset: string;
  readonly synthetic: boolean;
  /** Whether the weights are the last or those of the best validation epoch. */
  readonly weights: Weights;
  /** The test images, or those of the training split that the run held out. */
  readonly images: EvaluatedPart;
  /** Complete epochs of the weights. */
  readonly epoch: number;
  /** Steps that the weights have taken in the epoch after those: not 0 of a run that was stopped. */
  readonly step: number;
  readonly backend: string;
  readonly samples: number;
  readonly accuracy: number;
  /** Null where it is not finite. */
  readonly loss: number | null;
  /** The data folder's own, or the classes' numbers. */
  readonly classNames: readonly string[];
  readonly classes: readonly ClassAccuracy[];
  /** [label][prediction], in samples. */
  readonly confusionMatrix: readonly (readonly number[])[];
}

interface EvaluateCommandOptions {
  readonly data?: string;
  readonly best?: boolean;
  readonly validation?: boolean;
  readonly json?: boolean;
}

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description("test a run's weights: accuracy, by class too, and what is taken for what")
    .argument('<run>', 'the folder of a run, for example runs/quickstart/amplified')
    .option('--data <folder>', "the data set's folder (default: the run's own); normalised as the run's")
    .option('--best', 'the weights of the best validation epoch in place of the last')
    .option('--validation', 'the images that the run held out in place of the test images')
    .option('--json', 'print JSON')
    .action(async (run: string, { data, best, validation, json }: EvaluateCommandOptions) => {
      const report = await evaluateRun(run, {
        data,
        weights: best ? 'best' : 'last',
        images: validation ? 'validation' : 'test',
        onPass: json ? undefined : showProgress,
      });
      process.stdout.write(`${json ? JSON.stringify(report, null, 2) : describeReport(report)}\n`);
    });
}

/** One line on a terminal, gone when all samples are done. */
function showProgress(done: number, samples: number): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(done < samples ? `\r\x1b[Kevaluating ${done}/${samples}` : '\r\x1b[K');
}

interface EvaluateRunOptions {
  readonly data?: string;
  readonly weights?: Weights;
  readonly images?: EvaluatedPart;
  readonly onPass?: (done: number, samples: number) => void;
}

/** @throws UsageError where the folder holds no run, or its files do not fit each other. */
export async function evaluateRun(run: string, options: EvaluateRunOptions = {}): Promise<EvaluationReport> {
  const { images = 'test' } = options;
  const { config, checkpoint } = await readRun(run, options.weights);
  if (images === 'validation' && config.validation === 0) {
    throw new UsageError(
      `--validation: expected a run that holds images out, but ${run} has validation: 0 in its config.yaml; leave it out`,
    );
  }
  const dataDir = options.data ?? config.dataDir;
  const engine = await createEngine({ ...config, device: config.devices[0] });
  const dataset = await readCifar(config.dataset, dataDir);
  const graph = buildModel({ ...config.model, classes: dataset.classes });
  if (images === 'validation') {
    if (!isDeepStrictEqual(trainedOn(dataset), checkpoint.trainedOn)) {
      throw new UsageError(
        `--validation: expected the images that ${run} was trained on, and so those that it held out, got another training split in ${dataDir}; name the run's own folder with --data`,
      );
    }
    checkValidation(config, { size: dataset.train.size, classes: dataset.classes, dataDir });
  }
  const { validation, seeds } = config;
  const samples = partition(dataset, { validation, seed: seeds.validation })[images];
  const { weights } = checkpoint.vectors;
  const statistics = meanStatistics(checkpoint.vectors);
  const { history, step } = checkpoint.progress;
  checkLengths(run, graph, checkpoint);
  checkEvaluationSize(config, engine.name, graph);
  const replica = engine.createReplica({
    graph,
    normalisation: checkpoint.trainedOn.normalisation,
    parameters: weights,
    gradient: new Float32Array(graph.parameterLength),
    statistics,
  });
  try {
    const { batchSize, microBatch, devices, model } = config;
    const { split, indices } = samples;
    const labels = Uint8Array.from(indices, (index) => split.labels[index]);
    const { loss, accuracy, predictions } = evaluate(replica, samples, {
      batchSize,
      microBatch,
      worldSize: devices.length,
      onPass: (done) => options.onPass?.(done, indices.length),
    });
    const matrix = confusionMatrix(labels, predictions, dataset.classes);
    return {
      run,
      model: model.name,
      dataset: config.dataset,
      synthetic: dataset.synthetic,
      weights: options.weights ?? 'last',
      images,
      epoch: history.length,
      step,
      backend: engine.description,
      samples: indices.length,
      accuracy,
      loss,
      classNames: readClassNames(config.dataset, dataDir),
      classes: classAccuracies(labels, matrix),
      confusionMatrix: matrix,
    };
  } finally {
    replica.dispose();
  }
}

async function readRun(
  run: string,
  weights: Weights = 'last',
): Promise<{ config: Config; checkpoint: Checkpoint }> {
  const [configFile, checkpointFile] = ['config.yaml', FILES[weights]].map((name) => join(run, name));
  if (!existsSync(configFile)) {
    const isFile = existsSync(run) && !statSync(run).isDirectory();
    const found = isFile ? 'a file' : existsSync(run) ? 'no config.yaml in it' : 'nothing';
    throw new UsageError(`${run}: expected the folder of a run, found ${found}`);
  }
  const config = loadConfig(configFile);
  if (weights === 'best' && config.validation === 0) {
    throw new UsageError(
      `--best: expected a run that chooses its best epoch on validation images, but ${run} has validation: 0 in its config.yaml; leave it out`,
    );
  }
  if (!existsSync(checkpointFile)) {
    throw new UsageError(
      `${run}: expected a complete or stopped run, found no ${FILES[weights]} in it; let it train first`,
    );
  }
  try {
    return { config, checkpoint: await readCheckpoint(checkpointFile) };
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    throw new UsageError(`${checkpointFile}: ${error.message}`);
  }
}

function checkLengths(run: string, graph: Graph, { vectors }: Checkpoint): void {
  const {
    weights,
    statistics: [statistics],
  } = vectors;
  if (weights.length === graph.parameterLength && statistics.length === graph.statisticsLength) return;
  throw new UsageError(
    `${run}: expected a checkpoint of ${graph.name} as its config.yaml says, got ${weights.length} weights in place of ${graph.parameterLength}; has config.yaml been changed?`,
  );
}

/** The lines of the set's label file; the numbers of the classes where it is not there or does not fit. */
function readClassNames(dataset: DatasetName, directory: string): readonly string[] {
  const { folder, labels, target } = describeLayout(dataset);
  const { namesFile, classes } = labels[target];
  for (const place of [directory, join(directory, folder)]) {
    if (!existsSync(join(place, namesFile))) continue;
    const names = readFileSync(join(place, namesFile), 'utf8').split(/\r?\n/).filter(Boolean);
    if (names.length === classes) return names;
  }
  return Array.from({ length: classes }, (_, label) => String(label));
}

/** Up to so many classes the whole matrix is shown; of more, so many of the worst. */
const SHOWN_CLASSES = 10;

/** For people. */
export function describeReport(report: EvaluationReport): string {
  const { run, model, dataset, synthetic, epoch, step, samples, accuracy, loss, classNames } = report;
  const { weights, images } = report;
  const steps = step > 0 ? ` and ${formatNumberOf(step, 'step')}` : '';
  const after = `${formatNumberOf(epoch, 'epoch')}${steps}`;
  const data = `${dataset}${synthetic ? ' (synthetic data)' : ''}`;
  const head = [
    `${run}: ${model} after ${after}${weights === 'best' ? ' (best on validation)' : ''}, ${formatCount(samples)} ${images} images of ${data}`,
    `accuracy ${formatPercent(accuracy, 2)}, loss ${formatLoss(loss)}`,
  ];
  const whole = classNames.length <= SHOWN_CLASSES;
  return [...head, '', ...(whole ? describeMatrix(report) : describeWorst(report))].join('\n');
}

/** A row for each class: how often it was taken for which. */
function describeMatrix({ classNames, classes, confusionMatrix }: EvaluationReport): readonly string[] {
  const columns = [
    { title: 'class' },
    { title: 'accuracy', align: 'right' },
    ...classNames.map((name) => ({ title: name.slice(0, 5), align: 'right' }) as const),
  ] as const;
  const rows = classes.map(({ accuracy }, label) => [
    classNames[label],
    formatPercent(accuracy),
    ...confusionMatrix[label].map((count) => (count === 0 ? '·' : String(count))),
  ]);
  return [formatTable(columns, rows), '', 'rows: the class; columns: what it was taken for'];
}

function describeWorst({ classNames, classes, confusionMatrix }: EvaluationReport): readonly string[] {
  const worst = classes
    .flatMap(({ class: label, accuracy, samples }) =>
      accuracy === null ? [] : [{ label, accuracy, samples }],
    )
    .sort((a, b) => a.accuracy - b.accuracy)
    .slice(0, SHOWN_CLASSES);
  const taken = confusionsByFrequency(confusionMatrix).slice(0, SHOWN_CLASSES);
  const confusionRow = ({ label, prediction, samples }: Confusion) => {
    const share = samples / classes[label].samples;
    return [classNames[label], classNames[prediction], String(samples), formatPercent(share)];
  };
  return [
    formatTable(
      [
        { title: 'worst classes' },
        { title: 'accuracy', align: 'right' },
        { title: 'images', align: 'right' },
      ],
      worst.map(({ label, accuracy, samples }) => [
        classNames[label],
        formatPercent(accuracy),
        String(samples),
      ]),
    ),
    '',
    formatTable(
      [
        { title: 'class' },
        { title: 'most often taken for' },
        { title: 'images', align: 'right' },
        { title: 'share of the class', align: 'right' },
      ],
      taken.map(confusionRow),
    ),
  ];
}
