// TensorBoard's Event message and the three kinds of summary that a run writes, as Protocol Buffers. A writer of
// these few messages only: field numbers from tensorboard/compat/proto/{event,summary,histogram,tensor}.proto.

/** One moment of a run. */
export interface Event {
  /** Seconds since 1970. */
  readonly wallTime: number;
  /** Whole; what the horizontal axis shows. */
  readonly step: number;
  readonly what: EventContent;
}

export type EventContent =
  /** The first event of a file says which format follows. */
  | { readonly fileVersion: string }
  | { readonly summaries: readonly Summary[] }
  /** A run goes on: what earlier files say of this step and later ones is void. */
  | { readonly sessionLog: 'start' };

/** A value under a tag. Slashes in tags make groups. */
export type Summary = { readonly tag: string } & (
  | { readonly kind: 'scalar'; readonly value: number }
  | { readonly kind: 'histogram'; readonly values: readonly number[] }
  /** Markdown. */
  | { readonly kind: 'text'; readonly text: string }
);

/** As in TensorBoard's own histogram summary. */
const BUCKETS = 30;
/** tensorboard/compat/proto/types.proto. */
const DT_STRING = 7;
/** SessionLog.SessionStatus. */
const START = 1;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

export function encodeEvent({ wallTime, step, what }: Event): Buffer {
  return Buffer.concat([double(1, wallTime), integer(2, step), encodeContent(what)]);
}

function encodeContent(what: EventContent): Buffer {
  if ('fileVersion' in what) return text(3, what.fileVersion);
  if ('sessionLog' in what) return message(7, integer(1, START));
  return message(5, ...what.summaries.map((summary) => message(1, encodeSummary(summary))));
}

function encodeSummary(summary: Summary): Buffer {
  const tag = text(1, summary.tag);
  switch (summary.kind) {
    case 'scalar':
      return Buffer.concat([tag, float(2, summary.value)]);
    case 'histogram':
      return Buffer.concat([tag, message(5, encodeHistogram(summary.values))]);
    case 'text': {
      const tensor = message(
        8,
        integer(1, DT_STRING),
        message(2, message(2, integer(1, 1))),
        text(8, summary.text),
      );
      const metadata = message(9, message(1, text(1, 'text')));
      return Buffer.concat([tag, tensor, metadata]);
    }
    default:
      return summary satisfies never;
  }
}

/** HistogramProto: buckets of one width from the smallest to the largest value; each holds its lower edge. */
function encodeHistogram(values: readonly number[]): Buffer {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const buckets = high > low ? BUCKETS : 1;
  const limits = Array.from({ length: buckets }, (_, index) => low + ((index + 1) / buckets) * (high - low));
  const counts = new Array<number>(buckets).fill(0);
  for (const value of values) {
    const place = high > low ? Math.floor((buckets * (value - low)) / (high - low)) : 0;
    counts[Math.min(place, buckets - 1)]++;
  }
  return Buffer.concat([
    double(1, low),
    double(2, high),
    double(3, values.length),
    double(
      4,
      values.reduce((sum, value) => sum + value, 0),
    ),
    double(
      5,
      values.reduce((sum, value) => sum + value * value, 0),
    ),
    doubles(6, limits),
    doubles(7, counts),
  ]);
}

// Fields of the wire format, https://protobuf.dev/programming-guides/encoding. As in proto3, a number that is 0 is
// left out, except where a field of a oneof must say that it is there.

/** Base-128 groups of seven bits, the lowest first. Exact up to 2^53. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 0x7f; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return Buffer.from([...bytes, value]);
}

const key = (field: number, wireType: number) => varint((field << 3) | wireType);

function integer(field: number, value: number): Buffer {
  return value === 0 ? Buffer.alloc(0) : Buffer.concat([key(field, VARINT), varint(value)]);
}

function double(field: number, value: number): Buffer {
  return value === 0 ? Buffer.alloc(0) : Buffer.concat([key(field, FIXED64), fixed64([value])]);
}

/** Of a oneof. */
function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), bytes]);
}

/** Packed. */
const doubles = (field: number, values: readonly number[]) => message(field, fixed64(values));

const text = (field: number, value: string) => message(field, Buffer.from(value));

function message(field: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([key(field, LENGTH_DELIMITED), varint(body.length), body]);
}

function fixed64(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [index, value] of values.entries()) bytes.writeDoubleLE(value, 8 * index);
  return bytes;
}
