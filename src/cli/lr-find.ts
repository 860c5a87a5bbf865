// `gradamp lr-find`: a learning-rate range test, its curve, and the rates that it speaks for.

import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { UsageError } from '../errors.ts';
import type { RateFindings } from '../parallel/lr-finder.ts';
import type { RangePoint, RangeTestOptions, RateSuggestions } from '../training/range-test.ts';
import { collect, positiveNumber, wholeNumber } from './arguments.ts';
import { formatLearningRate, formatLoss } from './format.ts';
import { paint } from './paint.ts';
import { drawRates, type RateMark } from './rate-chart.ts';
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
/** Of the picture, in columns; `plain` where there is no terminal. */
const WIDTHS = { least: 60, most: 100, plain: 80 };

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
      const progress = showProgress(steps);
      const find = (signal: AbortSignal) =>
        findLearningRate(config, { ...range, signal, onStep: progress.show, onWarning: warn });
      const findings = await interruptible(find).finally(progress.clear);
      const text = json
        ? JSON.stringify({ config: file, ...range, ...findings }, null, 2)
        : describeFindings(findings, range, process.stdout);
      process.stdout.write(`${text}\n`);
    });
}

const warn = (warning: string) => process.stderr.write(`warning: ${warning}\n`);

/** Milliseconds between two renewals of the line on a terminal, and between two plain lines. */
const REDRAW_INTERVAL = 100;
const PLAIN_INTERVAL = 15_000;

/** On a terminal one line that is gone at the end, elsewhere one now and then. */
function showProgress(steps: number) {
  const { stderr } = process;
  let shown = stderr.isTTY ? Number.NEGATIVE_INFINITY : performance.now();
  const show = ({ step, learningRate, smoothedLoss }: RangePoint) => {
    const now = performance.now();
    if (now - shown < (stderr.isTTY ? REDRAW_INTERVAL : PLAIN_INTERVAL)) return;
    shown = now;
    const line = `step ${step}/${steps}, rate ${formatLearningRate(learningRate)}, loss ${formatLoss(smoothedLoss)}`;
    stderr.write(stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  };
  const clear = () => {
    if (stderr.isTTY) stderr.write('\r\x1b[K');
  };
  return { show, clear };
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
  const head = `training loss, smoothed, over the learning rate; ${ends[end]}`;
  if (points.length < 2) return head;
  const chart = { points, rates: [from, to], marks: suggestions ? marksOf(suggestions) : [] } as const;
  const lines = drawRates(chart, width).map((spans) => paint(spans, colours).trimEnd());
  return [head, '', ...lines, '', ...advise({ points, end, suggestions })].join('\n');
}

function marksOf({ steepest, minimum, tenthOfMinimum }: RateSuggestions): readonly RateMark[] {
  const mark = (learningRate: number, text: string, colour: RateMark['colour']) => ({
    learningRate,
    text: `${formatRate(learningRate)} ${text}`,
    colour,
  });
  return [
    mark(steepest, 'steepest descent', 'yellow'),
    mark(minimum, 'lowest loss', 'magenta'),
    mark(tenthOfMinimum, 'lowest loss / 10', 'cyan'),
  ];
}

function advise({ points, end, suggestions }: RateFindings): readonly string[] {
  if (!suggestions && end === 'stopped') return ['no suggestion: too few steps'];
  if (!suggestions) return ['no suggestion: the loss did not fall; try a lower --from, or more --steps'];
  const { steepest, tenthOfMinimum, minimum } = suggestions;
  return [
    `recommended: ${formatRate(steepest)}, where the loss falls most steeply; a rate to start tuning from`,
    `the other rule: ${formatRate(tenthOfMinimum)}, a tenth of the rate where the loss is lowest`,
    ...(minimum === points[points.length - 1].smoothedRate
      ? ['the loss still fell at the end: try a higher --to']
      : []),
  ];
}

/** The test tells no more than two digits. */
const formatRate = (rate: number) => String(Number(rate.toPrecision(2)));
