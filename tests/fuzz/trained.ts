// Every tiny config is trained for an epoch and then to its end, in a folder that is whole after both; or ends in one line.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';
import { readCifar } from '../../src/data/cifar.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import { UsageError } from '../../src/errors.ts';
import { buildModel } from '../../src/models/index.ts';
import { train } from '../../src/parallel/coordinator.ts';
import { DivergedError } from '../../src/parallel/divergence.ts';
import { readCheckpoint } from '../../src/training/checkpoint.ts';
import type { Reporter } from '../../src/training/reporter.ts';
import { encodeWeights } from '../../src/training/weights-file.ts';
import { testConfig } from '../parallel/fixtures.ts';
import { outcomeOf, Tally } from './outcome.ts';
import { IMAGES, type TinyDocument, tinyDocuments } from './tiny-configs.ts';

const DATASETS = ['cifar10', 'cifar100'] as const;
const MOST_CPU_SECONDS = 60;
const silent: Reporter = { start() {}, update() {}, epochEnd() {}, selection() {}, message() {}, close() {} };

/** @param folder for data and runs. */
export async function fuzzTraining(runs: number, seed: number, folder: string): Promise<Tally> {
  for (const dataset of DATASETS) {
    await synthesize({ dataset, directory: join(folder, dataset), seed: 5, ...IMAGES });
  }
  const tally = new Tally();
  const property = fc.asyncProperty(tinyDocuments, (tiny) => trainTwice(tiny, folder, tally));
  await fc.assert(property, { numRuns: runs, seed, endOnFailure: true });
  return tally;
}

async function trainTwice(tiny: TinyDocument, folder: string, tally: Tally): Promise<void> {
  const document: TinyDocument = {
    ...tiny,
    dataDir: join(folder, tiny.dataset),
    ...(tiny.init && { init: await weightsFile(tiny, folder) }),
  };
  const config = checkConfig(document, 'tiny');
  const directory = mkdtempSync(join(folder, 'run-'));
  const first = await outcomeOf(
    [UsageError, DivergedError],
    () => train(config, { directory, reporter: silent, until: 1 }),
    MOST_CPU_SECONDS,
  );
  tally.count('trained', first);
  if ('value' in first) {
    expect(first.value.summary.epochs).toBe(1);
    await checkFolder(directory, 1);
    const longer = lengthened(document);
    const epochs = longer.schedule[longer.schedule.length - 1][0];
    const second = await outcomeOf(
      [UsageError, DivergedError],
      () => train(checkConfig(longer, 'tiny'), { directory, reporter: silent, from: 'folder' }),
      MOST_CPU_SECONDS,
    );
    tally.count('resumed', second);
    if ('value' in second) {
      expect(second.value.summary).toMatchObject({ epochs, stopped: false });
      await checkFolder(directory, epochs);
    }
    // A config that was trained may diverge later, but is refused no more.
    else expect(second.refusal).toMatch(/^training diverged/);
  }
  await checkFolder(directory);
  rmSync(directory, { recursive: true });
}

/** With one epoch more, where that is the same run. */
function lengthened<Document extends TinyDocument>(document: Document): Document {
  const { schedule, learningRate } = document;
  if (learningRate !== 'phases') return document;
  return { ...document, schedule: [...schedule, [schedule[schedule.length - 1][0] + 1, 0.01, true, 2]] };
}

/** @param epochs that there are, if known. */
async function checkFolder(directory: string, epochs?: number): Promise<void> {
  const file = join(directory, 'metrics.jsonl');
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
  const metrics = lines.map((line) => JSON.parse(line));
  expect(metrics.map(({ epoch }) => epoch)).toEqual(metrics.map((_, index) => index + 1));
  if (epochs !== undefined) expect(metrics).toHaveLength(epochs);
  const checkpoint = join(directory, 'checkpoint.msgpack');
  if (epochs === undefined && !existsSync(checkpoint)) return;
  const { progress } = await readCheckpoint(checkpoint);
  expect(JSON.parse(JSON.stringify(progress.history.slice(0, metrics.length)))).toEqual(metrics);
}

/** Drawn ones, which any run may start from. */
async function weightsFile({ model, dataset }: TinyDocument, folder: string): Promise<string> {
  const file = join(folder, `${model.name}-${model.width}-${dataset}.safetensors`);
  if (existsSync(file)) return file;
  const { normalisation, classes } = await readCifar(dataset, join(folder, dataset));
  const graph = buildModel({ ...testConfig({ model }).model, classes });
  const state = {
    weights: new Float32Array(graph.parameterLength).map((_, i) => Math.sin(i) / 20),
    statistics: new Float32Array(graph.statisticsLength).fill(1),
  };
  writeFileSync(file, encodeWeights(graph, state, { width: model.width, normalisation }));
  return file;
}
