// The epochs of a run side by side on some columns, and curves over them: all drawn on the same columns, so that
// a bend stands below the phase that made it.

import type { ActingPhase, EpochPhase } from '../training/reporter.ts';
import { joinSpans, PHASE_COLOURS, type Span, type Style } from './paint.ts';

/** The epochs that a column stands for; null between two epochs. */
export type Column = { readonly first: number; readonly last: number } | null;

/** Readable without colours too: the higher, the more is done to the gradients. */
export const PHASE_BLOCKS = { plain: '▂', analysis: '█', amplified: '▅', frozen: '▁', scaled: '▄' } as const;

/** Whether chosen layers are acted upon in it. */
export const isActing = (phase: EpochPhase): phase is ActingPhase =>
  phase !== 'plain' && phase !== 'analysis';

/** The phases that a legend explains; what is done to chosen layers is the same in a whole run. */
export const shownPhases = (phases: readonly EpochPhase[]) =>
  ['plain', 'analysis', phases.find(isActing) ?? 'amplified'] as const;

const EIGHTHS = ' ▁▂▃▄▅▆▇█';

/** All `width` columns: few epochs get several each, with a blank between them where there is room; many share one. */
export function epochColumns(epochs: number, width: number): readonly Column[] {
  const apart = width >= 3 * epochs;
  const epochAt = (column: number) => Math.floor((column * epochs) / width) + 1;
  return Array.from({ length: width }, (_, column) => {
    const [first, next] = [epochAt(column), epochAt(column + 1)];
    if (next > first) return apart && column < width - 1 ? null : { first, last: next - 1 };
    return { first, last: first };
  });
}

/** The phase of a column: an analysis among its epochs, or else what most of them are. */
export function columnPhase(column: Column, phases: readonly EpochPhase[]): EpochPhase | undefined {
  if (!column) return undefined;
  const held = phases.slice(column.first - 1, column.last);
  if (held.includes('analysis')) return 'analysis';
  const acting = held.filter(isActing);
  return acting.length * 2 > held.length ? acting[0] : 'plain';
}

/** One line: every epoch in the colour and height of its phase, dim from `current` on. */
export function timeline(
  columns: readonly Column[],
  phases: readonly EpochPhase[],
  current: number,
): readonly Span[] {
  return joinSpans(
    columns.map((column) => {
      const phase = columnPhase(column, phases);
      if (!column || !phase) return { text: ' ' };
      const colour = PHASE_COLOURS[phase];
      return {
        text: PHASE_BLOCKS[phase],
        style: column.first > current ? (`dim ${colour}` as const) : colour,
      };
    }),
  );
}

/** The line below a timeline: a mark at the current epoch, and the numbers of those where something changes. */
export function axis(
  columns: readonly Column[],
  phases: readonly EpochPhase[],
  current: number,
): readonly Span[] {
  const cells: Span[] = columns.map(() => ({ text: ' ' }));
  const place = (epoch: number, mark: string, style: Span['style']) => {
    const found = columns.findIndex((column) => column && column.first <= epoch && epoch <= column.last);
    const label = mark + epoch;
    const at = Math.min(found, cells.length - label.length);
    // A blank on either side keeps two numbers apart.
    const around = cells.slice(Math.max(at - 1, 0), at + label.length + 1);
    if (found < 0 || at < 0 || around.some(({ text }) => text !== ' ')) return;
    for (const [index, text] of [...label].entries()) cells[at + index] = { text, style };
  };
  const changes = phases.flatMap((phase, index) =>
    index > 0 && phase !== phases[index - 1] ? [index + 1] : [],
  );
  const analyses = changes.filter((epoch) => phases[epoch - 1] === 'analysis');
  place(current, '▲', 'bold');
  for (const epoch of [1, phases.length, ...analyses, ...changes]) place(epoch, '', 'dim');
  return joinSpans(cells);
}

export const finite = (values: readonly (number | null)[]): readonly number[] =>
  values.filter((value): value is number => value !== null && Number.isFinite(value));

/** How a curve is drawn. */
export interface CurveStyle {
  /** The values at the foot and at the top. */
  readonly range: readonly [low: number, high: number];
  /** Lines. */
  readonly height: number;
  readonly dim: boolean;
}

/**
 * A curve as bars, lines from top to bottom: over each column the mean of its epochs' values. The top eighth stays
 * free, so that curves above each other stay apart.
 * @param values of epoch 1, 2, ...; what is not finite is not drawn.
 */
export function curve(
  columns: readonly Column[],
  phases: readonly EpochPhase[],
  values: readonly (number | null)[],
  { range, height, dim }: CurveStyle,
): readonly (readonly Span[])[] {
  const means = columns.map((column) => {
    const phase = columnPhase(column, phases);
    const colour = phase && PHASE_COLOURS[phase];
    return {
      value: column && meanOf(values.slice(column.first - 1, column.last)),
      style: dim && colour ? (`dim ${colour}` as const) : colour,
    };
  });
  return bars(means, range, height);
}

/** A column of its own for each value, lines from top to bottom; null is not drawn, what leaves the range is cut. */
export function bars(
  columns: readonly { readonly value: number | null; readonly style?: Style }[],
  range: CurveStyle['range'],
  height: number,
): readonly (readonly Span[])[] {
  const cells = columns.map(({ value, style }) => ({ eighths: eighthsOf(value, range, height), style }));
  return Array.from({ length: height }, (_, line) => {
    const below = 8 * (height - 1 - line);
    return joinSpans(
      cells.map(({ eighths, style }) => ({
        text: EIGHTHS[Math.min(Math.max(eighths - below, 0), 8)],
        style,
      })),
    );
  });
}

/** In eighths of a line; 0 draws nothing. */
function eighthsOf(value: number | null, [low, high]: CurveStyle['range'], height: number): number {
  if (value === null) return 0;
  const share = high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0.5;
  return 1 + Math.round(share * (8 * height - 2));
}

function meanOf(values: readonly (number | null)[]): number | null {
  const found = finite(values);
  return found.length === 0 ? null : found.reduce((sum, value) => sum + value, 0) / found.length;
}
