// `gradamp lr-find`: a learning-rate range test, its curve, and the rates that it speaks for.

import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { UsageError } from '../errors.ts';
import type { RateFindings } from '../parallel/lr-finder.ts';
import type { RangePoint, RangeTestOptions } from '../training/range-test.ts';
import { collect, positiveNumber, wholeNumber } from './arguments.ts';
import { formatLearningRate, formatLoss } from './format.ts';
import { paint } from './paint.ts';
import { drawRates } from './rate-chart.ts';
import { interruptible } from './train.ts';

interface FindCommandOptions extends RangeTestOptions {
  readonly set: readonly string[];
  readonly devices?: string;
  readonly json?: boolean;
}

const LARGEST_RATE = 1e6;
/** Fewer steps than this do not make a curve. */
const FEWEST_STEPS = 20;
const MOST_STEPS = 100_000;
/** On a terminal; wider ones get no wider picture. */
const WIDTHS = { least: 40, most: 100, plain: 80 };

export function findCommand(): Command {
  return new Command('lr-find')
    .description('train a few steps with a growing learning rate and suggest one; writes nothing')
    .argument('<config>', 'a YAML file, for example configs/quickstart.yaml')
    .option('--from <rate>', 'the first learning rate', positiveNumber(LARGEST_RATE), 1e-5)
    .option(
      '--to <rate>',
      'the last; the test ends before where the loss explodes',
      positiveNumber(LARGEST_RATE),
      10,
    )
    .option(
      '--steps <n>',
      'steps, the rate growing by the same factor each',
      wholeNumber(FEWEST_STEPS, MOST_STEPS),
      100,
    )
    .option('--set <key=value>', 'override a key of the config (repeatable)', collect, [])
    .option('--devices <list>', 'one worker each, for example cpu,cpu')
    .option('--json', 'print JSON; the progress goes to standard error')
    .action(async (file: string, options: FindCommandOptions) => {
      const { from, to, steps, set, devices, json } = options;
      if (from >= to) throw new UsageError(`--from: expected a rate below --to, which is ${to}, got ${from}`);
      const config = loadConfig(file, { set, devices });
      // Loaded only now: an error in the config is told at once.
      const { findLearningRate } = await import('../parallel/lr-finder.ts');
      const range = { from, to, steps };
      const onStep = (point: RangePoint) => showProgress(point, steps);
      const find = (signal: AbortSignal) => findLearningRate(config, { ...range, signal, onStep });
      const findings = await interruptible(find).finally(clearProgress);
      const text = json
        ? JSON.stringify({ config: file, ...range, ...findings }, null, 2)
        : describeFindings(findings, range, process.stdout);
      process.stdout.write(`${text}\n`);
    });
}

/** One line on a terminal, gone at the end. */
function showProgress({ step, learningRate, smoothedLoss }: RangePoint, steps: number): void {
  if (!process.stderr.isTTY) return;
  const figures = `rate ${formatLearningRate(learningRate)}, loss ${formatLoss(smoothedLoss)}`;
  process.stderr.write(`\r\x1b[Kstep ${step}/${steps}, ${figures}`);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

/** For people, on a terminal in its colours and width. */
export function describeFindings(
  { points, end, suggestions }: RateFindings,
  { from, to, steps }: RangeTestOptions,
  { isTTY = false, columns = WIDTHS.plain }: { readonly isTTY?: boolean; readonly columns?: number } = {},
): string {
  const width = Math.min(Math.max(columns, WIDTHS.least), WIDTHS.most);
  const { NO_COLOR, TERM } = process.env;
  const colours = isTTY && !NO_COLOR && TERM !== 'dumb';
  const reached = points.length > 0 ? `, up to ${formatRate(points[points.length - 1].learningRate)}` : '';
  const ends = {
    complete: `all ${steps} steps`,
    diverged: `${points.length} of ${steps} steps${reached}: the loss left its range there`,
    stopped: `stopped after ${points.length} of ${steps} steps${reached}`,
  };
  const head = `smoothed training loss by learning rate, ${ends[end]}`;
  if (points.length < 2) return head;
  const marks = suggestions
    ? ([
        { learningRate: suggestions.minimum, text: 'lowest loss', colour: 'magenta' },
        { learningRate: suggestions.steepest, text: 'steepest descent', colour: 'yellow' },
      ] as const)
    : [];
  const lines = drawRates({ points, rates: [from, to], marks }, width);
  return [
    head,
    '',
    ...lines.map((spans) => paint(spans, colours).trimEnd()),
    '',
    ...advise(suggestions, points),
  ].join('\n');
}

function advise(suggestions: RateFindings['suggestions'], points: readonly RangePoint[]): readonly string[] {
  if (!suggestions) return ['no suggestion: the loss did not fall; try a lower --from, or more --steps'];
  const { steepest, tenthOfMinimum, minimum } = suggestions;
  return [
    `${formatRate(steepest)}: steepest descent of the loss (recommended as the peak of a schedule)`,
    `${formatRate(tenthOfMinimum)}: a tenth of the rate of the lowest loss, ${formatRate(minimum)} (the cautious choice)`,
    ...(minimum === points[points.length - 1].smoothedRate
      ? ['the loss still fell at the end; try a higher --to']
      : []),
  ];
}

/** The test tells no more than two digits. */
const formatRate = (rate: number) => String(Number(rate.toPrecision(2)));
