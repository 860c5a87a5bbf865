// The safetensors format (https://github.com/huggingface/safetensors): the length of a header, the header in JSON, then
// the numbers of all tensors without a gap. Knows nothing of models or files.

import { oneLine, show } from '../config/messages.ts';
import { UsageError } from '../errors.ts';
import { sizeOf } from '../models/graph.ts';

/** Bytes of one element. Types of less than a byte are left out. */
const ELEMENT_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type Dtype = keyof typeof ELEMENT_BYTES;

export interface Tensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Elements in row-major order, little-endian; at any offset of its buffer. */
  readonly data: Uint8Array;
}

export interface Safetensors {
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Of the header's length. */
const LENGTH_BYTES = 8;
/** Tensors start on a multiple of it, as in the official library: the header is padded with blanks. */
const ALIGNMENT = 8;
/** The official library's limit. */
const LARGEST_HEADER = 100_000_000;
const METADATA = '__metadata__';
/** A key that objects of JavaScript do not hold like others. No name of a tensor, and refused for all readers' sake. */
const FORBIDDEN_KEY = '__proto__';

/** The same bytes for the same tensors and metadata in the same order. @throws RangeError where data do not fit a shape. */
export function encodeSafetensors({ metadata, tensors }: Safetensors): Uint8Array {
  const fields: string[] = [];
  const field = (name: string, value: unknown) =>
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  if (metadata.size > 0) field(METADATA, Object.fromEntries(metadata));
  let end = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    const bytes = sizeOf(shape) * ELEMENT_BYTES[dtype];
    if (data.length !== bytes) {
      throw new RangeError(`${name}: expected ${bytes} bytes for ${dtype} [${shape}], got ${data.length}`);
    }
    field(name, { dtype, shape, data_offsets: [end, end + bytes] });
    end += bytes;
  }
  const header = Buffer.from(`{${fields.join(',')}}`);
  const length = Math.ceil(header.length / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(LENGTH_BYTES + length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + length).set(header, LENGTH_BYTES);
  let start = LENGTH_BYTES + length;
  for (const { data } of tensors.values()) {
    file.set(data, start);
    start += data.length;
  }
  return file;
}

/**
 * @returns tensors whose data are views of `file`: nothing is allocated by what its header claims.
 * @throws UsageError, one line that says what was expected and what came, for everything that is not as the format says.
 */
export function decodeSafetensors(file: Uint8Array): Safetensors {
  const headerEnd = findHeaderEnd(file);
  const header = parseHeader(file.subarray(LENGTH_BYTES, headerEnd));
  const data = file.subarray(headerEnd);
  const { [METADATA]: metadata = {}, ...descriptions } = header;
  const segments = Object.entries(descriptions).map(([name, value]) => readSegment(name, value));
  segments.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(segments, data.length);
  const tensors = segments.map(
    ({ name, dtype, shape, begin, end }) =>
      [name, { dtype, shape, data: data.subarray(begin, end) }] as const,
  );
  return { metadata: readMetadata(metadata), tensors: new Map(tensors) };
}

const refuse = (message: string) => new UsageError(oneLine(message));

function findHeaderEnd(file: Uint8Array): number {
  if (file.length < LENGTH_BYTES) {
    throw refuse(`expected ${LENGTH_BYTES} bytes of a header's length, got a file of ${file.length} bytes`);
  }
  const length = new DataView(file.buffer, file.byteOffset).getBigUint64(0, true);
  const rest = file.length - LENGTH_BYTES;
  if (length > Math.min(rest, LARGEST_HEADER)) {
    const limit = rest < LARGEST_HEADER ? `the ${rest} bytes behind its length` : `${LARGEST_HEADER} bytes`;
    throw refuse(`expected a header of at most ${limit}, got one of ${length}; is it a safetensors file?`);
  }
  return LENGTH_BYTES + Number(length);
}

function parseHeader(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  const text = decodeText(bytes);
  const header = text?.startsWith('{') ? parseJson(text) : undefined;
  if (text === undefined || !isObject(header)) {
    const found = text === undefined ? 'bytes that are no UTF-8' : show(text);
    throw refuse(`expected a header that is a JSON object, got ${found}`);
  }
  checkKeys(text);
  return header;
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * That no object has a key twice, of which JSON.parse would silently keep the last, and none is FORBIDDEN_KEY. Looks two
 * objects deep: what lies deeper is no header.
 *
 * @param text valid JSON.
 */
function checkKeys(text: string): void {
  const keys: Set<string>[] = [];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{') {
      if (depth < 2) keys[depth] = new Set();
      depth++;
    } else if (character === '}') {
      depth--;
    } else if (character === '"') {
      const start = i;
      i = endOfString(text, start);
      if (depth > 2 || !isKey(text, i + 1)) continue;
      const key: string = JSON.parse(text.slice(start, i + 1));
      if (key === FORBIDDEN_KEY) throw refuse(`expected a header without the key ${key}, got one with it`);
      if (keys[depth - 1].has(key)) {
        throw refuse(`expected every key of the header once, got ${show(key)} twice`);
      }
      keys[depth - 1].add(key);
    }
  }
}

/** Where the string that begins at `start` has its second quote. */
function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
}

/** Whether a colon follows, behind white space. */
function isKey(text: string, after: number): boolean {
  while (/\s/.test(text[after])) after++;
  return text[after] === ':';
}

function readMetadata(value: unknown): ReadonlyMap<string, string> {
  if (!isObject(value)) throw refuse(`${METADATA}: expected an object of strings, got ${show(value)}`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw refuse(`${METADATA}: expected a string for ${show(key)}, got ${show(text)}`);
    }
  }
  return new Map(Object.entries(value as Readonly<Record<string, string>>));
}

/** Where a tensor lies in the data: bytes, the end excluded. */
interface Segment {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

const KEYS = ['dtype', 'shape', 'data_offsets'];

function readSegment(name: string, value: unknown): Segment {
  const title = show(name);
  if (!isObject(value) || Object.keys(value).some((key) => !KEYS.includes(key))) {
    throw refuse(`${title}: expected an object of ${KEYS.join(', ')}, got ${show(value)}`);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    const known = Object.keys(ELEMENT_BYTES).join(', ');
    throw refuse(`${title}: expected a dtype of ${known}, got ${show(dtype)}`);
  }
  if (!isNaturalNumbers(shape)) {
    throw refuse(`${title}: expected a shape of whole numbers of at least 0, got ${show(shape)}`);
  }
  if (!isNaturalNumbers(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw refuse(`${title}: expected data_offsets [begin, end], got ${show(offsets)}`);
  }
  const [begin, end] = offsets;
  const bytes = sizeOf(shape) * ELEMENT_BYTES[dtype];
  if (end - begin !== bytes) {
    throw refuse(
      `${title}: expected ${bytes} bytes for ${dtype} ${show(shape)}, got data_offsets ${show(offsets)} of ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

const isDtype = (value: unknown): value is Dtype =>
  typeof value === 'string' && Object.hasOwn(ELEMENT_BYTES, value);

const isNaturalNumbers = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((number) => Number.isSafeInteger(number) && number >= 0);

/** @param segments by their begin. */
function checkCover(segments: readonly Segment[], length: number): void {
  let covered = 0;
  for (const { name, begin, end } of segments) {
    if (begin !== covered) {
      const fault = begin < covered ? 'an overlap' : 'a hole';
      throw refuse(`${show(name)}: expected its data to begin at ${covered}, got ${begin}: ${fault}`);
    }
    covered = end;
  }
  if (covered !== length) {
    throw refuse(
      `expected ${covered} bytes of data behind the header, got ${length}; was it written to its end?`,
    );
  }
}
