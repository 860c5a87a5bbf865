// Shows a run: on a terminal a picture that is redrawn in place, on a small one a line that is rewritten and a lasting
// line an epoch, elsewhere plain lines.

import type { Selection } from '../amplification/selection.ts';
import type { EpochLine, Progress, Reporter, RunOutline } from '../training/reporter.ts';
import { formatNumberOf } from './format.ts';
import { LiveReporter } from './live-reporter.ts';
import { SMALLEST } from './live-view.ts';
import { paint } from './paint.ts';
import {
  describeSelection,
  epochParts,
  fitParts,
  outlineWords,
  progressParts,
  sentence,
} from './progress-line.ts';

/** The parts of a stream that a reporter looks at. */
export type ReporterStream = Pick<NodeJS.WriteStream, 'write'> &
  Partial<Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'rows'>>;

interface ReporterSettings {
  /** Milliseconds, from anywhere. */
  readonly clock?: () => number;
  readonly environment?: NodeJS.ProcessEnv;
}

/** Milliseconds between two renewals of the line on a terminal, and between two plain lines. */
const REDRAW_INTERVAL = 100;
const PLAIN_INTERVAL = 15_000;

export function createReporter(stream: ReporterStream, settings: ReporterSettings = {}): Reporter {
  const { clock = () => performance.now(), environment = process.env } = settings;
  const rewritable = Boolean(stream.isTTY) && environment.TERM !== 'dumb';
  if (!rewritable) return new PlainReporter(stream, clock);
  const colours = !environment.NO_COLOR;
  return hasRoom(stream)
    ? new LiveReporter(stream, clock, colours)
    : new LineReporter(stream, clock, colours);
}

/** A terminal that does not tell its size gets a line. */
function hasRoom(stream: ReporterStream): stream is ReporterStream & { columns: number; rows: number } {
  const { columns = 0, rows = 0 } = stream;
  return columns >= SMALLEST.columns && rows >= SMALLEST.rows;
}

/** One line that is rewritten, below lines that stay. */
class LineReporter implements Reporter {
  readonly #stream: ReporterStream;
  readonly #clock: () => number;
  readonly #colours: boolean;
  #line = '';
  #drawn = Number.NEGATIVE_INFINITY;

  constructor(stream: ReporterStream, clock: () => number, colours: boolean) {
    this.#stream = stream;
    this.#clock = clock;
    this.#colours = colours;
  }

  start(outline: RunOutline): void {
    this.message(describeOutline(outline));
  }

  update(progress: Progress): void {
    const now = this.#clock();
    if (now - this.#drawn < REDRAW_INTERVAL) return;
    this.#drawn = now;
    this.#line = paint(fitParts(progressParts(progress), this.#width), this.#colours);
    this.#stream.write(`\r${this.#line}\x1b[K`);
  }

  epochEnd(line: EpochLine): void {
    this.message(paint(fitParts(epochParts(line, true), this.#width), this.#colours));
  }

  selection(selection: Selection): void {
    this.message(describeSelection(selection));
  }

  message(text: string): void {
    this.#stream.write(`${this.#line === '' ? '' : '\r\x1b[K'}${text}\n${this.#line}`);
  }

  close(): void {
    if (this.#line !== '') this.#stream.write('\r\x1b[K');
    this.#line = '';
  }

  /** A line that fills the last column would wrap on some terminals. */
  get #width(): number {
    return (this.#stream.columns || 80) - 1;
  }
}

/** A line an epoch, and one now and then within long ones: for files and pipes. */
class PlainReporter implements Reporter {
  readonly #stream: ReporterStream;
  readonly #clock: () => number;
  #written: number;

  constructor(stream: ReporterStream, clock: () => number) {
    this.#stream = stream;
    this.#clock = clock;
    this.#written = clock();
  }

  start(outline: RunOutline): void {
    this.message(describeOutline(outline));
  }

  update(progress: Progress): void {
    if (this.#clock() - this.#written < PLAIN_INTERVAL) return;
    this.message(sentence(progressParts(progress).filter(({ drawing }) => !drawing)));
  }

  epochEnd(line: EpochLine): void {
    this.message(sentence(epochParts(line, false)));
  }

  selection(selection: Selection): void {
    this.message(describeSelection(selection));
  }

  message(text: string): void {
    this.#written = this.#clock();
    this.#stream.write(`${text}\n`);
  }

  close(): void {}
}

/** `run first: resnet8, cifar10, 2 × cpu, batch 64, 12 epochs`. */
function describeOutline(outline: RunOutline): string {
  const [name, ...words] = outlineWords(outline);
  return `run ${name}: ${[...words, formatNumberOf(outline.epochs.length, 'epoch')].join(', ')}`;
}
