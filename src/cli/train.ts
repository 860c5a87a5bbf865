// `gradamp train`: one run from a config.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, extname, join } from 'node:path';
import { Command } from 'commander';
import { lastEpoch } from '../amplification/phases.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { UsageError } from '../errors.ts';
import type { TrainResult } from '../parallel/coordinator.ts';
import type { RunSummary } from '../training/metrics.ts';
import { RunDirectory } from '../training/run-directory.ts';
import { collect } from './arguments.ts';
import { formatDuration, formatNumberOf, formatPercent } from './format.ts';
import { createReporter } from './progress.ts';
import { isSupervised, SIGNALS, supervise } from './supervise.ts';

interface TrainCommandOptions {
  readonly set: readonly string[];
  readonly devices?: string;
  readonly out?: string;
  readonly resume?: string;
  readonly init?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function trainCommand(): Command {
  return new Command('train')
    .description('train a model as a config says')
    .argument(
      '[config]',
      "a YAML file, for example configs/quickstart.yaml; with --resume the run's own is the default",
    )
    .option(
      '--set <key=value>',
      'override a key, for example amplification.threshold=2 (repeatable)',
      collect,
      [],
    )
    .option('--devices <list>', 'one worker each, for example cpu,cpu')
    .option('--out <folder>', "the run's folder, new or empty (default: runs/<name of the run or config>)")
    .option('--resume <run>', 'go on with the run in this folder, from its last checkpoint')
    .option('--init <file>', 'start from the weights of a safetensors file')
    .option('--dry-run', 'check everything and show what would be done; train and write nothing')
    .option('--json', 'print the summary, or the plan of a dry run, as JSON; progress goes to standard error')
    .action(async (file: string | undefined, options: TrainCommandOptions) => {
      const { dryRun, json } = options;
      const { config, directory, from } = plannedRun(file, options);
      if (dryRun) {
        await showPlan({ config, directory, from: from && 'folder' }, json);
      } else if (from === 'complete') {
        await checkComplete(config, directory);
        showComplete(directory, json);
      } else if (config.restarts > 0 && !isSupervised()) {
        process.exitCode = await superviseRun(config, directory, options);
      } else if (json) {
        const { summary } = await trainShown(config, { directory, from, output: process.stderr });
        process.stdout.write(`${JSON.stringify({ directory, ...summary }, null, 2)}\n`);
      } else {
        await trainShown(config, { directory, from });
      }
    });
}

interface PlannedRun {
  readonly config: Config;
  readonly directory: string;
  /** What the folder is for the run: undefined where it starts there. */
  readonly from?: 'folder' | 'complete';
}

/** @throws UsageError where the options do not go together. */
function plannedRun(file: string | undefined, options: TrainCommandOptions): PlannedRun {
  const { set, devices, out, resume, init } = options;
  const overrides = { set: init === undefined ? set : [...set, `init=${JSON.stringify(init)}`], devices };
  if (resume !== undefined) {
    if (out !== undefined)
      throw new UsageError('--out: expected no other folder beside --resume; leave it out');
    if (init !== undefined)
      throw new UsageError('--init: expected a new run, got --resume; leave one of the two out');
    const state = RunDirectory.holds(resume);
    if (state !== 'unfinished' && state !== 'complete') {
      throw new UsageError(`--resume: expected the folder of a run, found ${found(state)} in ${resume}`);
    }
    const config = loadConfig(file ?? join(resume, 'config.yaml'), overrides);
    return { config, directory: resume, from: stateFor(config, resume, state) };
  }
  if (file === undefined) {
    throw new UsageError(
      'config: expected a YAML file, got none; for example configs/quickstart.yaml, or --resume <run>',
    );
  }
  const config = loadConfig(file, overrides);
  const folder = join('runs', config.name ?? basename(file, extname(file)));
  if (config.resume === 'never') return { config, directory: out ?? freeFolder(folder) };
  const directory = out ?? folder;
  const state = RunDirectory.holds(directory);
  if (state === 'nothing' || state === 'something-else') return { config, directory };
  return { config, directory, from: stateFor(config, directory, state) };
}

const found = (state: 'nothing' | 'something-else') => (state === 'nothing' ? 'nothing' : 'no config.yaml');

/** A complete run is gone on with where its schedule has been made longer since. */
function stateFor(config: Config, directory: string, state: 'complete' | 'unfinished'): PlannedRun['from'] {
  const complete = state === 'complete' && lastEpoch(config.schedule) <= readSummary(directory).epochs;
  return complete ? 'complete' : 'folder';
}

const readSummary = (directory: string): RunSummary =>
  JSON.parse(readFileSync(join(directory, 'summary.json'), 'utf8'));

/** @throws UsageError where the run that is complete is another than the config's. */
async function checkComplete(config: Config, directory: string): Promise<void> {
  const { checkSameRun } = await import('../parallel/resumption.ts');
  const source = join(directory, 'config.yaml');
  checkSameRun(source, loadConfig(source), config, readSummary(directory).epochs);
}

/** Of a run that has nothing left to do. */
function showComplete(directory: string, json = false): void {
  const summary = readSummary(directory);
  const text = json
    ? JSON.stringify({ directory, ...summary }, null, 2)
    : `nothing left to do; ${describeSummary(summary, directory)}`;
  process.stdout.write(`${text}\n`);
}

function superviseRun(
  config: Config,
  directory: string,
  { resume, out, json }: TrainCommandOptions,
): Promise<number> {
  const [, , ...words] = process.argv;
  // The folder is chosen once.
  const first =
    resume === undefined && out === undefined ? [words[0], '--out', directory, ...words.slice(1)] : words;
  const goesOnByItself = resume !== undefined || config.resume === 'auto';
  return supervise({
    restarts: config.restarts,
    first,
    again: () => {
      const state = RunDirectory.holds(directory);
      if (goesOnByItself || state === 'nothing' || state === 'something-else') return first;
      return ['train', '--resume', directory, ...(json ? ['--json'] : [])];
    },
    notice: (text) => process.stderr.write(`gradamp: ${text}\n`),
  });
}

async function showPlan({ config, directory, from }: ShownRun, json = false): Promise<void> {
  const { planRun, describePlan } = await import('./dry-run.ts');
  const plan = await planRun(config, directory, from);
  const { NO_COLOR, TERM } = process.env;
  const colours = process.stdout.isTTY && !NO_COLOR && TERM !== 'dumb';
  const text = json ? JSON.stringify(plan, null, 2) : describePlan(plan, config, colours);
  process.stdout.write(`${text}\n`);
}

interface ShownRun {
  readonly config: Config;
  readonly directory: string;
  readonly from?: 'folder';
}

/** One run, shown and summed up on `output`; Ctrl-C stops it after its step. */
export async function trainShown(
  config: Config,
  { directory, from, output = process.stdout }: Omit<ShownRun, 'config'> & { output?: NodeJS.WriteStream },
): Promise<TrainResult> {
  // Loaded only now: an error in the config is told at once.
  const { train } = await import('../parallel/coordinator.ts');
  const reporter = createReporter(output);
  try {
    // On a terminal the reporter draws, and what others write would tear its picture.
    const notice = output.isTTY ? (text: string) => reporter.message(text) : undefined;
    const run = (signal: AbortSignal) => train(config, { directory, reporter, signal, from });
    const result = await interruptible(run, notice);
    // Asked to stop behind the last step, it is a complete run.
    if (!result.summary.stopped) process.exitCode = 0;
    reporter.close();
    reporter.message(describeSummary(result.summary, directory));
    return result;
  } finally {
    reporter.close();
  }
}

const ECHO_MILLISECONDS = 1000;

/**
 * Runs `work` with a signal that Ctrl-C aborts; a second Ctrl-C ends the program. An interrupted program exits with
 * 128 + the number of the signal. A closed terminal only asks: shell and system both tell of it.
 * @param notice shows a line.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  notice: (text: string) => void = (text) => process.stderr.write(`\n${text}\n`),
): Promise<T> {
  const controller = new AbortController();
  let asked = Number.NEGATIVE_INFINITY;
  const interrupt = (name: (typeof SIGNALS)[number]) => {
    if (name === 'SIGHUP' && controller.signal.aborted) return;
    // What is sent to a whole group of processes comes from the supervisor once more.
    if (isSupervised() && performance.now() - asked < ECHO_MILLISECONDS) return;
    asked = performance.now();
    process.exitCode = 128 + constants.signals[name];
    if (controller.signal.aborted) process.exit();
    notice('stopping after this step; Ctrl-C again ends at once');
    controller.abort();
  };
  for (const name of SIGNALS) process.on(name, interrupt);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, interrupt);
  }
}

/** `folder`, or where that holds something already `folder-2`, `folder-3` and so on. */
export function freeFolder(folder: string): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? folder : `${folder}-${number}`;
    if (!existsSync(candidate)) return candidate;
    if (statSync(candidate).isDirectory() && readdirSync(candidate).length === 0) return candidate;
  }
}

function describeSummary(summary: RunSummary, directory: string): string {
  const { epochs, finalTestAccuracy, best, seconds, stopped, synthetic } = summary;
  const end = stopped
    ? `stopped: ${formatNumberOf(epochs, 'complete epoch')}`
    : `done: ${formatNumberOf(epochs, 'epoch')}`;
  const accuracy = best
    ? `, test accuracy ${formatPercent(finalTestAccuracy, 2)}, best ${formatPercent(best.testAccuracy, 2)} in epoch ${best.epoch} (chosen on ${best.chosenOn})`
    : '';
  const data = synthetic ? ' (synthetic data)' : '';
  const next = stopped ? `; go on with: gradamp train --resume ${directory}` : '';
  return `${end} in ${formatDuration(seconds)}${accuracy}${data}; files in ${directory}${next}`;
}
