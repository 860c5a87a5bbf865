// The picture of a run on a terminal, as lines for a given size: phases, curves, chosen layers, progress. Pure: what
// puts it on the terminal is live-reporter.ts.

import { PARTICIPLES } from '../amplification/response.ts';
import type { Selection } from '../amplification/selection.ts';
import { candidateNoun } from '../models/candidates.ts';
import type { EpochLine, EpochPhase, Progress, RunOutline } from '../training/reporter.ts';
import { formatLearningRate, formatLoss, formatPercent } from './format.ts';
import { cut, PHASE_COLOURS, type Span, widthOf } from './paint.ts';
import {
  bar,
  chosenNames,
  figureParts,
  fitParts,
  outlineWords,
  type Part,
  phaseStyle,
  responseNote,
} from './progress-line.ts';
import {
  axis,
  type Column,
  curve,
  epochColumns,
  finite,
  PHASE_BLOCKS,
  shownPhases,
  timeline,
} from './timeline.ts';

export interface LiveState {
  readonly outline: RunOutline;
  /** The complete epochs, from the first. */
  readonly history: readonly EpochLine[];
  /** The last analysis. */
  readonly selection?: Selection;
  /** None once the run is complete. */
  readonly progress?: Progress;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export type Line = readonly Span[];

/** Below this the picture would be no better than a line. */
export const SMALLEST: Size = { columns: 60, rows: 10 };

const LABEL_WIDTH = 13;
const FIGURES_WIDTH = 21;
/** Of the terminal; lasting lines have the rest. */
const SHARE_OF_ROWS = 0.7;
const MOST_LAYER_LINES = 4;
const HIGHEST_CURVE = 3;

const CURVES = [
  {
    unit: 'loss',
    keys: { train: 'trainLoss', val: 'validationLoss', test: 'testLoss' },
    format: formatLoss,
    best: Math.min,
  },
  {
    unit: 'acc',
    keys: { train: 'trainAccuracy', val: 'validationAccuracy', test: 'testAccuracy' },
    // Not as it stands, since it takes digits too.
    format: (fraction: number | null) => formatPercent(fraction),
    best: Math.max,
  },
] as const;

/** The picture: every line narrower than the terminal, and one line fewer than it has rows at least. */
export function liveView(state: LiveState, { columns, rows }: Size): readonly Line[] {
  // A line that fills the last column would wrap on some terminals.
  const width = columns - 1;
  const plot = width - LABEL_WIDTH - FIGURES_WIDTH;
  const columnsOfEpochs = epochColumns(state.outline.epochs.length, plot);
  const { title, gaps, parts, mostLayerLines, curveHeight } = allot(rows, state.outline.validation > 0);
  const gap: readonly Line[] = gaps ? [[]] : [];
  const layers = layerLines(state, width - LABEL_WIDTH, mostLayerLines);
  const bottom = progressLines(state.progress, plot, width);
  return [
    ...gap,
    ...(title ? [titleLine(state.outline, width), ...gap] : []),
    ...timelineLines(state, columnsOfEpochs),
    ...curveLines(state, columnsOfEpochs, parts, curveHeight),
    ...(layers.length > 0 ? gap : []),
    ...layers,
    ...(bottom.length > 0 ? gap : []),
    ...bottom,
  ].map((line) => cut(line, width));
}

type CurvePart = 'train' | 'val' | 'test';

/** What the rows are used for. It depends on nothing that changes in a run, so that the picture keeps its shape. */
function allot(rows: number, validated: boolean) {
  // Timeline and axis, four curves, a line of layers, two of progress.
  let spare = Math.max(Math.floor(SHARE_OF_ROWS * rows), Math.min(rows - 1, SMALLEST.rows)) - 9;
  const take = (lines: number) => {
    const taken = Math.min(lines, Math.max(spare, 0));
    spare -= taken;
    return taken;
  };
  const title = take(1) === 1;
  // The run decides by the validation curves: of those that have no room, the test curves are the first to go.
  const parts: CurvePart[] = !validated
    ? ['train', 'test']
    : spare >= 2 && take(2) === 2
      ? ['train', 'val', 'test']
      : ['train', 'val'];
  const gaps = spare >= 4 && take(4) === 4;
  const mostLayerLines = 1 + take(MOST_LAYER_LINES - 1);
  const curves = CURVES.length * parts.length;
  const curveHeight = 1 + take(curves * (HIGHEST_CURVE - 1)) / curves;
  return { title, gaps, parts, mostLayerLines, curveHeight: Math.floor(curveHeight) };
}

function titleLine(outline: RunOutline, width: number): Line {
  const [name, ...words] = outlineWords(outline);
  const legend = shownPhases(outline.epochs.map(({ phase }) => phase)).flatMap((phase, index) => [
    { text: `${index > 0 ? '  ' : ''}${PHASE_BLOCKS[phase]}`, style: PHASE_COLOURS[phase] },
    { text: ` ${phase}`, style: 'dim' } as const,
  ]);
  const parts: Part[] = [
    { text: name, style: 'bold', importance: words.length },
    ...words.map((text, index) => ({ text, style: 'dim', importance: words.length - 1 - index }) as const),
  ];
  const title = fitParts(parts, width - widthOf(legend) - 2, ' · ');
  return [...title, { text: ' '.repeat(Math.max(width - widthOf(title) - widthOf(legend), 2)) }, ...legend];
}

/** As it was where an epoch is complete, as planned where not. */
function phasesOf({ outline, history }: LiveState): readonly EpochPhase[] {
  return outline.epochs.map(({ phase }, index) => history[index]?.phase ?? phase);
}

/** The epoch that is trained now; after the end the last. */
const currentEpoch = ({ progress, history, outline }: LiveState) =>
  progress?.epoch ?? Math.min(history.length + 1, outline.epochs.length);

function timelineLines(state: LiveState, columns: readonly Column[]): readonly Line[] {
  const phases = phasesOf(state);
  const current = currentEpoch(state);
  const rate = `lr ${formatLearningRate(state.outline.epochs[current - 1].learningRate)}`;
  return [
    [label('epochs'), ...timeline(columns, phases, current), { text: rate.padStart(FIGURES_WIDTH) }],
    [
      blanks(LABEL_WIDTH),
      ...axis(columns, phases, current),
      { text: figures('last', 'best', 'at').join(''), style: 'dim' },
    ],
  ];
}

function curveLines(
  state: LiveState,
  columns: readonly Column[],
  parts: readonly CurvePart[],
  height: number,
): readonly Line[] {
  const { history } = state;
  const phases = phasesOf(state);
  return CURVES.flatMap(({ keys, unit, format, best }) => {
    // One range for all, so that their distance shows.
    const known = finite(parts.flatMap((part) => history.map((line) => line[keys[part]])));
    const range = known.length > 0 ? ([Math.min(...known), Math.max(...known)] as const) : ([0, 1] as const);
    return parts.flatMap((part) => {
      const values = history.map((line) => line[keys[part]]);
      const record = best(...finite(values));
      const at = values.indexOf(record) + 1;
      const [last, highest, epoch] = figures(
        format(values.at(-1) ?? null),
        format(at > 0 ? record : null),
        at > 0 ? String(at) : '',
      );
      const drawn = curve(columns, phases, values, { range, height, dim: part === 'train' });
      return drawn.map((line, index) => {
        if (index < height - 1) return [blanks(LABEL_WIDTH), ...line];
        return [
          label(`${part} ${unit}`),
          ...line,
          { text: last + highest },
          { text: epoch, style: 'dim' },
        ] as const;
      });
    });
  });
}

/** A paragraph: how many layers the last analysis chose, and their names as far as `most` lines hold them. */
function layerLines(state: LiveState, width: number, most: number): readonly Line[] {
  const { selection, outline } = state;
  if (!selection) {
    const first = outline.epochs.findIndex(({ phase }) => phase === 'analysis') + 1;
    if (first === 0) return [];
    return [[label('layers'), { text: `chosen at the end of epoch ${first}`, style: 'dim' }]];
  }
  const chosen = chosenNames(selection);
  const head = `${chosen.length} of ${selection.layers.length} chosen in epoch ${selection.epoch}${responseNote(selection)}`;
  const style = PHASE_COLOURS[PARTICIPLES[selection.response]];
  const note = selection.degenerate ? `: ${selection.degenerate}` : '';
  const lines: Span[][] = [[{ text: head + note }]];
  for (const [index, name] of chosen.entries()) {
    const left = chosen.length - index;
    const line = lines[lines.length - 1];
    // On the last line, room for `+12 more` unless this is the last name.
    const reserve = lines.length < most || left === 1 ? 0 : `  +${left - 1} more`.length;
    const word = { text: name, style };
    if (widthOf(line) + 2 + name.length + reserve <= width) {
      line.push({ text: '  ' }, word);
    } else if (lines.length < most) {
      lines.push([word]);
    } else {
      line.push({ text: `  +${left} more`, style: 'dim' });
      break;
    }
  }
  return lines.map((line, index) => [
    index === 0 ? label(`${candidateNoun(selection.pooling)}s`) : blanks(LABEL_WIDTH),
    ...line,
  ]);
}

function progressLines(progress: Progress | undefined, plot: number, width: number): readonly Line[] {
  if (!progress) return [];
  const { epoch, epochs, step, steps, phase } = progress;
  const [done, left] = bar(step / steps, plot);
  const count = `step ${step}/${steps}`;
  const style = phaseStyle(phase);
  return [
    [label(`epoch ${epoch}`), { text: done, style }, { text: left, style: 'dim' }, { text: `  ${count}` }],
    [
      label(`of ${epochs}`),
      ...fitParts(
        [{ text: phase, style, importance: 6 }, ...figureParts(progress)],
        width - LABEL_WIDTH,
        ' · ',
      ),
    ],
  ];
}

const label = (text: string): Span => ({ text: text.padEnd(LABEL_WIDTH), style: 'dim' });
const blanks = (count: number): Span => ({ text: ' '.repeat(Math.max(count, 0)) });
/** Right-aligned; together FIGURES_WIDTH. */
const figures = (last: string, best: string, at: string) =>
  [last.padStart(8), best.padStart(8), at.padStart(5)] as const;
