// `gradamp train`: one run from a config.

import { existsSync, readdirSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, extname, join } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { TrainResult } from '../parallel/coordinator.ts';
import type { RunSummary } from '../training/metrics.ts';
import { collect } from './arguments.ts';
import { formatDuration, formatNumberOf, formatPercent } from './format.ts';
import { createReporter } from './progress.ts';

interface TrainCommandOptions {
  readonly set: readonly string[];
  readonly devices?: string;
  readonly out?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function trainCommand(): Command {
  return new Command('train')
    .description('train a model as a config says')
    .argument('<config>', 'a YAML file, for example configs/quickstart.yaml')
    .option(
      '--set <key=value>',
      'override a key, for example amplification.threshold=2 (repeatable)',
      collect,
      [],
    )
    .option('--devices <list>', 'one worker each, for example cpu,cpu')
    .option('--out <folder>', "the run's folder, new or empty (default: runs/<name of the run or config>)")
    .option('--dry-run', 'check everything and show what would be done; train and write nothing')
    .option('--json', 'print the summary, or the plan of a dry run, as JSON; progress goes to standard error')
    .action(async (file: string, options: TrainCommandOptions) => {
      const { set, devices, out, dryRun, json } = options;
      const config = loadConfig(file, { set, devices });
      const directory = out ?? freeFolder(join('runs', config.name ?? basename(file, extname(file))));
      if (dryRun) {
        await showPlan(config, directory, json);
      } else if (json) {
        const { summary } = await trainShown(config, directory, process.stderr);
        process.stdout.write(`${JSON.stringify({ directory, ...summary }, null, 2)}\n`);
      } else {
        await trainShown(config, directory);
      }
    });
}

async function showPlan(config: Config, directory: string, json = false): Promise<void> {
  const { planRun, describePlan } = await import('./dry-run.ts');
  const plan = await planRun(config, directory);
  const { NO_COLOR, TERM } = process.env;
  const colours = process.stdout.isTTY && !NO_COLOR && TERM !== 'dumb';
  const text = json ? JSON.stringify(plan, null, 2) : describePlan(plan, config, colours);
  process.stdout.write(`${text}\n`);
}

/** One run, shown and summed up on `output`; Ctrl-C stops it after its step. */
export async function trainShown(
  config: Config,
  directory: string,
  output: NodeJS.WriteStream = process.stdout,
): Promise<TrainResult> {
  // Loaded only now: an error in the config is told at once.
  const { train } = await import('../parallel/coordinator.ts');
  const reporter = createReporter(output);
  try {
    // On a terminal the reporter draws, and what others write would tear its picture.
    const notice = output.isTTY ? (text: string) => reporter.message(text) : undefined;
    const run = (signal: AbortSignal) => train(config, { directory, reporter, signal });
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

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Runs `work` with a signal that Ctrl-C aborts; a second Ctrl-C ends the program. An interrupted program exits with
 * 128 + the number of the signal.
 * @param notice shows a line.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  notice: (text: string) => void = (text) => process.stderr.write(`\n${text}\n`),
): Promise<T> {
  const controller = new AbortController();
  const interrupt = (name: (typeof SIGNALS)[number]) => {
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
  return `${end} in ${formatDuration(seconds)}${accuracy}${data}; files in ${directory}`;
}
