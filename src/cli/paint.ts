// Pieces of terminal lines and their colours. Nothing here writes.

export type Colour = 'cyan' | 'yellow' | 'magenta' | 'blue' | 'green';
export type Style = Colour | 'dim' | 'bold' | `dim ${Colour}`;

/** Text of characters one column wide, in one style. */
export interface Span {
  readonly text: string;
  readonly style?: Style;
}

/** Select Graphic Rendition, ECMA-48, 8.3.117. */
const CODES = {
  dim: [2, 22],
  bold: [1, 22],
  cyan: [36, 39],
  yellow: [33, 39],
  magenta: [35, 39],
  blue: [34, 39],
  green: [32, 39],
} as const;

/** The colours of the phases, the same wherever a phase is shown. */
export const PHASE_COLOURS = {
  plain: 'cyan',
  analysis: 'yellow',
  amplified: 'magenta',
  frozen: 'blue',
  scaled: 'green',
} as const;

export function paint(spans: readonly Span[], colours: boolean): string {
  return spans.map((span) => (colours ? paintSpan(span) : span.text)).join('');
}

function paintSpan({ text, style }: Span): string {
  if (!style) return text;
  const codes = style.split(' ').map((name) => CODES[name as keyof typeof CODES]);
  const on = codes.map(([code]) => `\x1b[${code}m`).join('');
  const off = codes.map(([, code]) => `\x1b[${code}m`).join('');
  return on + text + off;
}

export const widthOf = (spans: readonly Span[]): number =>
  spans.reduce((width, { text }) => width + text.length, 0);

/** Neighbours of one style as one. */
export function joinSpans(spans: readonly Span[]): readonly Span[] {
  const joined: Span[] = [];
  for (const { text, style } of spans) {
    const last = joined.at(-1);
    if (last && last.style === style) joined[joined.length - 1] = { text: last.text + text, style };
    else joined.push({ text, style });
  }
  return joined;
}

/** As much of a line as `columns` hold. */
export function cut(spans: readonly Span[], columns: number): readonly Span[] {
  let left = Math.max(columns, 0);
  return spans.flatMap(({ text, style }) => {
    const kept = text.slice(0, left);
    left -= kept.length;
    return kept === '' ? [] : [{ text: kept, style }];
  });
}
