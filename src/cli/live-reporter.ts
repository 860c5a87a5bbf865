// Keeps the picture of a run at the foot of a terminal, below lines that stay. Every redraw is one write that
// overwrites in place: nothing flickers.

import type { Selection } from '../amplification/selection.ts';
import type { EpochLine, Progress, Reporter, RunOutline } from '../training/reporter.ts';
import { type Line, type LiveState, liveView, type Size, SMALLEST } from './live-view.ts';
import { paint, widthOf } from './paint.ts';
import { describeSelection, epochParts, fitParts, progressParts } from './progress-line.ts';

/** The parts of a terminal that the picture needs. Sizes are read at every redraw, so that it follows a resize. */
export interface LiveStream extends Size {
  write(text: string): unknown;
}

/** Milliseconds between two redraws. */
const REDRAW_INTERVAL = 100;

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
// A character that is wider than one column, in the name of a folder, must not push a line into the next row.
const WRAP_OFF = '\x1b[?7l';
const WRAP_ON = '\x1b[?7h';
const ERASE_LINE = '\x1b[K';
const ERASE_BELOW = '\x1b[J';

export class LiveReporter implements Reporter {
  readonly #stream: LiveStream;
  readonly #clock: () => number;
  readonly #colours: boolean;
  #state?: LiveState;
  /** The widths of the lines on the terminal; the cursor stands at the start of the last. */
  #drawn: readonly number[] = [];
  #drawnAt = Number.NEGATIVE_INFINITY;
  #hidden = false;
  /** However the program ends, the cursor comes back. */
  readonly #restore = () => this.#showCursor();

  constructor(stream: LiveStream, clock: () => number, colours: boolean) {
    this.#stream = stream;
    this.#clock = clock;
    this.#colours = colours;
  }

  start(outline: RunOutline, history: readonly EpochLine[], selection?: Selection): void {
    this.#state = { outline, history, selection };
    this.#redraw();
  }

  update(progress: Progress): void {
    if (!this.#state) return;
    this.#state = { ...this.#state, progress };
    if (this.#clock() - this.#drawnAt >= REDRAW_INTERVAL) this.#redraw();
  }

  /** The last one completes the picture: it stays as it is, and what is said later stands below it. */
  epochEnd(line: EpochLine): void {
    if (!this.#state) return;
    const { progress, history, ...rest } = this.#state;
    const complete = line.epoch === line.epochs;
    this.#state = { ...rest, history: [...history, line], progress: complete ? undefined : progress };
    // A picture that has no room shows no epochs.
    const parts = fitParts(epochParts(line, true), this.#stream.columns - 1);
    this.#redraw(this.#small ? paint(parts, this.#colours) : undefined);
    if (complete) this.close();
  }

  selection(selection: Selection): void {
    if (this.#state) this.#state = { ...this.#state, selection };
    this.message(describeSelection(selection));
  }

  message(text: string): void {
    this.#redraw(wrap(text, this.#stream.columns - 1));
  }

  /** Leaves the picture as it is last, and the cursor below it, apart from it by a blank line. */
  close(): void {
    if (!this.#state) return;
    this.#redraw();
    if (this.#drawn.length > 0) this.#stream.write(this.#drawn.length > 1 ? '\n\n' : '\n');
    this.#showCursor();
    this.#state = undefined;
    this.#drawn = [];
  }

  get #small(): boolean {
    return this.#stream.columns < SMALLEST.columns || this.#stream.rows < SMALLEST.rows;
  }

  /** `lasting` stays above the picture. */
  #redraw(lasting?: string): void {
    const lines = this.#lines();
    const kept = lasting === undefined ? '' : `${lasting.replaceAll('\n', `${ERASE_LINE}\n`)}${ERASE_LINE}\n`;
    const picture = lines.map((line) => paint(line, this.#colours) + ERASE_LINE).join('\n');
    if (lines.length > 0) this.#hideCursor();
    this.#stream.write(`${WRAP_OFF}${this.#toTop()}${kept}${picture}${ERASE_BELOW}\r${WRAP_ON}`);
    this.#drawn = lines.map(widthOf);
    this.#drawnAt = this.#clock();
  }

  #lines(): readonly Line[] {
    if (!this.#state) return [];
    const { columns } = this.#stream;
    if (!this.#small) return liveView(this.#state, this.#stream);
    const { progress } = this.#state;
    return progress ? [fitParts(progressParts(progress), columns - 1)] : [];
  }

  /** Terminals wrap what stands on them anew when they become narrower: then a line takes several rows. */
  #toTop(): string {
    const rows = this.#drawn
      .slice(0, -1)
      .reduce((sum, width) => sum + Math.max(Math.ceil(width / this.#stream.columns), 1), 0);
    return rows > 0 ? `\r\x1b[${rows}A` : '\r';
  }

  #hideCursor(): void {
    if (this.#hidden) return;
    this.#hidden = true;
    process.once('exit', this.#restore);
    this.#stream.write(HIDE_CURSOR);
  }

  #showCursor(): void {
    if (!this.#hidden) return;
    this.#hidden = false;
    process.off('exit', this.#restore);
    this.#stream.write(SHOW_CURSOR);
  }
}

/** At blanks, the lines after the first indented. A word that is too long stays whole. */
function wrap(text: string, columns: number): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last.trim() === '') lines[lines.length - 1] += word;
    else if (last.length + 1 + word.length <= columns) lines[lines.length - 1] += ` ${word}`;
    else lines.push(`  ${word}`);
  }
  return lines.join('\n');
}
