// The picture of a learning-rate range test: the smoothed loss over the rate, which grows by the same factor from
// column to column, and marks at the rates that the curve speaks for.

import type { RangePoint } from '../training/range-test.ts';
import { formatLoss } from './format.ts';
import type { Colour, Span } from './paint.ts';
import { bars } from './timeline.ts';

export interface RateMark {
  readonly learningRate: number;
  readonly text: string;
  readonly colour: Colour;
}

export interface RateChart {
  readonly points: readonly Pick<RangePoint, 'smoothedRate' | 'smoothedLoss'>[];
  /** The rates at the left and the right edge. */
  readonly rates: readonly [from: number, to: number];
  readonly marks: readonly RateMark[];
}

type Line = readonly Span[];

const LABEL_WIDTH = 8;
const HEIGHT = 10;
/** Of what the curve falls by, so much is shown of the rise behind it. */
const RISE = 0.25;

/** Lines of at most `width` columns, where that is at least 60 and no mark's text is longer than 25. */
export function drawRates(chart: RateChart, width: number): readonly Line[] {
  const { points, rates, marks } = chart;
  const plot = width - LABEL_WIDTH;
  const columnOf = (rate: number) => {
    const share = Math.log(rate / rates[0]) / Math.log(rates[1] / rates[0]);
    return Math.min(Math.max(Math.round(share * (plot - 1)), 0), plot - 1);
  };
  const rateOf = (column: number) => rates[0] * (rates[1] / rates[0]) ** (column / (plot - 1));
  const range = shownRange(points.map(({ smoothedLoss }) => smoothedLoss));
  const drawn = bars(
    Array.from({ length: plot }, (_, column) => ({
      value: lossAt(points, rateOf(column)),
      style: marks.find((mark) => columnOf(mark.learningRate) === column)?.colour ?? 'dim cyan',
    })),
    range,
    HEIGHT,
  );
  const labels = [range[1], ...Array<null>(HEIGHT - 2).fill(null), range[0]];
  return [
    ...drawn.map((line, index) => [label(labels[index] === null ? '' : formatLoss(labels[index])), ...line]),
    ...axisLines(rates, columnOf, plot),
    ...marks.map((mark) => markLine(mark, rates[0], columnOf(mark.learningRate), plot)),
  ];
}

/** What a rise at the end would press flat is cut. */
function shownRange(losses: readonly number[]): readonly [low: number, high: number] {
  const low = Math.min(...losses);
  const before = Math.max(...losses.slice(0, losses.indexOf(low) + 1));
  return [low, Math.min(Math.max(...losses), before + RISE * (before - low || low))];
}

/** Between two points on the line of the log rate; null outside of all. */
function lossAt(points: RateChart['points'], rate: number): number | null {
  const behind = points.findIndex(({ smoothedRate }) => smoothedRate >= rate);
  if (behind < 0) return null;
  const right = points[behind];
  if (behind === 0) return right.smoothedRate === rate ? right.smoothedLoss : null;
  const left = points[behind - 1];
  const share = Math.log(rate / left.smoothedRate) / Math.log(right.smoothedRate / left.smoothedRate);
  return left.smoothedLoss + share * (right.smoothedLoss - left.smoothedLoss);
}

/** A rule with a tick at each label, and the labels; one that would touch its neighbour is left out. */
function axisLines(rates: RateChart['rates'], columnOf: (rate: number) => number, plot: number): Line[] {
  const rule = Array<string>(plot).fill('─');
  let text = '';
  for (const rate of ticks(rates)) {
    const column = columnOf(rate);
    rule[column] = '┬';
    const name = describeTick(rate);
    const start = Math.min(Math.max(column - Math.floor(name.length / 2), 0), plot - name.length);
    if (text === '' || start > text.length + 1) text = text.padEnd(start) + name;
  }
  const style = 'dim';
  return [
    [label(''), { text: rule.join(''), style }],
    [label(''), { text, style }],
  ];
}

/** Powers of ten; where there are less than two, also their doubles and fives. */
function ticks([from, to]: RateChart['rates']): readonly number[] {
  const [first, last] = [Math.floor(Math.log10(from)), Math.ceil(Math.log10(to))];
  const powers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const within = (factors: readonly number[]) =>
    powers
      .flatMap((power) => factors.map((factor) => Number(`${factor}e${power}`)))
      .filter((rate) => rate >= from && rate <= to);
  const tens = within([1]);
  return tens.length > 1 ? tens : within([1, 2, 5]);
}

const describeTick = (rate: number) => (rate < 0.01 ? rate.toExponential() : String(rate));

/** `▲ text` below its column, or `text ▲` where there is no room behind it; `◂ text` of a rate left of all columns. */
function markLine(
  { learningRate, text, colour }: RateMark,
  from: number,
  column: number,
  plot: number,
): Line {
  const arrow = { text: learningRate < from ? '◂' : '▲', style: colour } as const;
  if (column + 2 + text.length <= plot) {
    return [label(''), { text: ' '.repeat(column) }, arrow, { text: ` ${text}` }];
  }
  return [label(''), { text: `${text} `.padStart(column) }, arrow];
}

const label = (text: string): Span => ({
  text: text.padStart(LABEL_WIDTH - 1).padEnd(LABEL_WIDTH),
  style: 'dim',
});
