// `gradamp data`: downloads CIFAR or makes a synthetic data set, checks a data folder and tells what is in it.

import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError } from 'commander';
import { DATASET_NAMES } from '../config/schema.ts';
import { type Archive, DownloadError, officialArchive } from '../data/archive.ts';
import { describeCheck, isSound } from '../data/checksums.ts';
import { readCifar, readDatasetDescription } from '../data/cifar.ts';
import type { DatasetName, Split } from '../data/dataset.ts';
import { type DownloadEvent, downloadArchive } from '../data/download.ts';
import { DESCRIPTION_FILE } from '../data/layout.ts';
import { synthesize } from '../data/synthetic.ts';
import { type VerifiedSet, verifyData } from '../data/verify.ts';
import { UsageError } from '../errors.ts';
import { choice, oneOf, wholeNumber } from './arguments.ts';
import { formatBytes, formatCount, formatDuration, formatPercent } from './format.ts';
import type { ReporterStream } from './progress.ts';
import { bar } from './progress-line.ts';
import { formatTable } from './table.ts';

interface SynthesizeCommandOptions {
  readonly dataset: DatasetName;
  readonly out?: string;
  readonly train: number;
  readonly test: number;
  readonly seed: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

interface InfoOptions {
  readonly dataset?: DatasetName;
  readonly json?: boolean;
}

interface DownloadCommandOptions {
  readonly out: string;
  readonly from?: string;
  readonly keepArchive?: boolean;
  readonly json?: boolean;
}

const datasetOption = (text: string) => choice('--dataset <name>', text, DATASET_NAMES);

export function dataCommand(): Command {
  const download = new Command('download')
    .description(
      'download CIFAR, check it and unpack it; a broken download goes on when the command is repeated',
    )
    .addArgument(new Argument('<dataset>').choices(DATASET_NAMES).argParser(oneOf(DATASET_NAMES)))
    .option('--out <folder>', "where the archive's folder comes to be (default: data/<dataset>)")
    .option('--from <url>', 'the archive elsewhere, or a folder, ending in /, that has it', webAddress)
    .option('--keep-archive', 'keep the archive too')
    .option('--json', 'print JSON; the progress goes to standard error')
    .action((name: DatasetName, { out = `data/${name}`, ...options }: Partial<DownloadCommandOptions>) =>
      runDownload(officialArchive(name), { ...options, out }, options.json ? process.stderr : process.stdout),
    );
  const verify = new Command('verify')
    .description('compare a data folder with the published sizes and md5; exit code 1 where they differ')
    .argument('<folder>')
    .option('--json', 'print JSON')
    .action(runVerify);
  const synthesizeCommand = new Command('synthesize')
    .description('make a learnable synthetic set in the layout of CIFAR')
    .addOption(datasetOption('whose layout and number of classes').default('cifar10'))
    .option('--out <folder>', 'where to (default: data/<dataset>)')
    .option('--train <n>', 'training images', wholeNumber(1), 50_000)
    .option('--test <n>', 'test images', wholeNumber(1), 10_000)
    .option('--seed <n>', 'the same seed gives the same images', wholeNumber(0, 2 ** 32 - 1), 0)
    .option('--force', 'replace a synthetic set that is there already (never a real one)')
    .option('--json', 'print JSON; the progress goes to standard error')
    .action(runSynthesize);
  const infoCommand = new Command('info')
    .description('check a data folder and tell what is in it')
    .argument('<folder>')
    .addOption(datasetOption('what it should hold (default: what it looks like)'))
    .option('--json', 'print JSON')
    .action(runInfo);
  return new Command('data')
    .description('get, make and look at data sets')
    .addCommand(download)
    .addCommand(verify)
    .addCommand(synthesizeCommand)
    .addCommand(infoCommand);
}

async function runSynthesize(options: SynthesizeCommandOptions): Promise<void> {
  const { dataset, train, test, seed, force = false, json } = options;
  const output = json ? process.stderr : process.stdout;
  const directory = options.out ?? `data/${dataset}`;
  if (!force && existsSync(join(directory, DESCRIPTION_FILE))) {
    throw new UsageError(
      `${directory}: holds a synthetic set already; choose another --out, or replace it with --force`,
    );
  }
  const started = performance.now();
  const rewritable = Boolean(output.isTTY);
  const onProgress = (done: number, total: number) =>
    output.write(`\r${formatCount(done)} of ${formatCount(total)} images\x1b[K`);
  try {
    await synthesize({ dataset, directory, train, test, seed, ...(rewritable && { onProgress }) });
  } finally {
    if (rewritable) output.write('\r\x1b[K');
  }
  const seconds = (performance.now() - started) / 1000;
  const text = json
    ? JSON.stringify({ folder: directory, dataset, train, test, seed, seconds }, null, 2)
    : `${directory}: ${formatCount(train)} training and ${formatCount(test)} test images (synthetic ${dataset}, seed ${seed}) in ${formatDuration(seconds)}`;
  process.stdout.write(`${text}\n`);
}

async function runInfo(folder: string, { dataset, json }: InfoOptions): Promise<void> {
  const name = dataset ?? (await guessDataset(folder));
  const { classes, train, test, normalisation, synthetic } = await readCifar(name, folder);
  const description = (await readDatasetDescription(name, folder)) ?? null;
  if (json) {
    const sizes = { train: train.size, test: test.size };
    const result = { folder, dataset: name, classes, ...sizes, normalisation, synthetic, description };
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  const origin = description ? `synthetic, seed ${description.seed}` : 'not synthetic';
  const columns = ['R', 'G', 'B'].map((title) => ({ title, align: 'right' }) as const);
  const channels = (values: readonly number[]) => values.map((value) => value.toFixed(4));
  const text = [
    `${folder}: ${name}, ${classes} classes, ${origin}`,
    '',
    formatTable(
      [{ title: 'split' }, { title: 'images', align: 'right' }, { title: 'a class', align: 'right' }],
      [train, test].map((split) => [split.name, formatCount(split.size), imagesPerClass(split, classes)]),
    ),
    '',
    formatTable(
      [{ title: 'training pixels' }, ...columns],
      [
        ['mean', ...channels(normalisation.mean)],
        ['deviation', ...channels(normalisation.std)],
      ],
    ),
  ];
  process.stdout.write(`${text.join('\n')}\n`);
}

function webAddress(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new InvalidArgumentError('Expected an address that starts with http:// or https://.');
}

/** Tells the steps on `output`, and ends with exit code 1 for faults of the network, of a server and of what it sent. */
export async function runDownload(
  archive: Archive,
  { json, ...options }: DownloadCommandOptions,
  output: ReporterStream,
): Promise<void> {
  const started = performance.now();
  const controller = new AbortController();
  // A second one finds no handler and ends the program.
  const interrupt = (name: 'SIGINT' | 'SIGTERM') => {
    process.exitCode = 128 + constants.signals[name];
    controller.abort();
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const display = createDownloadDisplay(output);
  try {
    const { signal } = controller;
    const result = await downloadArchive(archive, { ...options, signal, onEvent: display.show });
    display.close();
    if (json) {
      process.stdout.write(`${JSON.stringify({ archive: archive.title, ...result }, null, 2)}\n`);
      return;
    }
    const end =
      result.status === 'present'
        ? 'there already, sizes and md5 as published; nothing to download'
        : `sizes and md5 as published, in ${formatDuration((performance.now() - started) / 1000)}`;
    output.write(`${result.folder}: ${archive.title}, ${end}\n`);
  } catch (error) {
    display.close();
    if (!(error instanceof DownloadError)) throw error;
    process.stderr.write(`gradamp: ${error.message}\n`);
    process.exitCode ??= 1;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

const BAR_WIDTH = 20;
/** Milliseconds between two renewals of the line on a terminal, and between two plain lines. */
const REDRAW_INTERVAL = 100;
const PLAIN_INTERVAL = 15_000;

/** On a terminal a bar below lasting lines, elsewhere a plain line now and then. */
export function createDownloadDisplay(output: ReporterStream, clock = () => performance.now()) {
  const rewritable = Boolean(output.isTTY) && process.env.TERM !== 'dumb';
  const interval = rewritable ? REDRAW_INTERVAL : PLAIN_INTERVAL;
  let start = { time: clock(), offset: 0 };
  let drawn = Number.NEGATIVE_INFINITY;
  const close = () => {
    if (rewritable) output.write('\r\x1b[K');
  };
  const say = (line: string) => {
    close();
    output.write(`${line}\n`);
  };
  const show = (event: DownloadEvent): void => {
    if (event.kind === 'progress') {
      const now = clock();
      if (now - drawn < interval && event.received < event.total) return;
      drawn = now;
      const line = describeProgress(event, start.offset, (now - start.time) / 1000, rewritable);
      if (rewritable) output.write(`\r${line.slice(0, (output.columns || 80) - 1)}\x1b[K`);
      else output.write(`${line}\n`);
      return;
    }
    if (event.kind === 'transfer') {
      start = { time: clock(), offset: event.offset };
      // The first plain line has something to tell.
      drawn = rewritable ? drawn : start.time;
    }
    say(describeEvent(event));
  };
  return { show, close };
}

function describeEvent(event: Exclude<DownloadEvent, { kind: 'progress' }>): string {
  switch (event.kind) {
    case 'transfer': {
      const { url, offset, total } = event;
      const size = formatBytes(total);
      return `downloading ${url} (${size}${offset === 0 ? '' : `, from ${formatBytes(offset)} on`})`;
    }
    case 'retry':
      return `${event.reason}; tries again in ${formatDuration(event.delay / 1000)}`;
    case 'found':
      return `${event.path}: ${event.usable ? 'there already' : 'not the official archive, not used'}`;
    case 'check':
      return `comparing the md5 of ${event.path}`;
    case 'unpack':
      return `unpacking ${event.path}`;
  }
}

/** `45%, 77 MiB of 162 MiB, 4.2 MiB/s, 21 s left`, with a bar on a terminal. */
function describeProgress(
  { received, total }: { readonly received: number; readonly total: number },
  offset: number,
  seconds: number,
  withBar: boolean,
): string {
  const share = received / total;
  const parts = [formatPercent(share, 0), `${formatBytes(received)} of ${formatBytes(total)}`];
  const rate = (received - offset) / seconds;
  if (seconds > 0 && received < total) {
    parts.push(`${(rate / 2 ** 20).toFixed(1)} MiB/s`, `${formatDuration((total - received) / rate)} left`);
  }
  return `${withBar ? `${bar(share, BAR_WIDTH).join('')} ` : ''}${parts.join(', ')}`;
}

async function runVerify(folder: string, { json }: { readonly json?: boolean }): Promise<void> {
  const sets = await verifyData(folder);
  if (!sets.every(({ ok }) => ok)) process.exitCode = 1;
  const text = json ? JSON.stringify({ folder, sets }, null, 2) : sets.map(describeSet).join('\n\n');
  process.stdout.write(`${text}\n`);
}

function describeSet({ dataset, folder, synthetic, files, problem }: VerifiedSet): string {
  if (synthetic) {
    return (
      problem ?? `${folder}: synthetic ${dataset}; sizes and labels are right, and there is no more to check`
    );
  }
  const bad = files.filter((file) => !isSound(file)).length;
  const remedy = `get them again with \`gradamp data download ${dataset}\``;
  const end = bad === 0 ? 'all as published' : `${bad} of ${files.length} are not as published; ${remedy}`;
  const lines = formatTable(
    [{ title: 'file' }, { title: 'result' }],
    files.map((file) => [file.name, describeCheck(file)]),
  );
  return `${folder}: ${dataset}\n\n${lines}\n\n${end}`;
}

/** Fewest and most images of a class: `5,000` or `99-101`. */
function imagesPerClass({ labels }: Split, classes: number): string {
  const counts = new Array<number>(classes).fill(0);
  for (const label of labels) counts[label] += 1;
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  return least === most ? formatCount(least) : `${formatCount(least)}-${formatCount(most)}`;
}

/** The first data set that the folder is taken for; where it is none, cifar10's complaint says what is missing. */
async function guessDataset(folder: string): Promise<DatasetName> {
  const description = await Promise.allSettled(
    DATASET_NAMES.map((name) => readDatasetDescription(name, folder)),
  );
  const found = DATASET_NAMES.find((_, index) => description[index].status === 'fulfilled');
  return found ?? 'cifar10';
}
