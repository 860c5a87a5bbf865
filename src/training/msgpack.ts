// The part of MessagePack that plain data and vectors of bytes need. Numbers come back as they were, -0 too; absent
// fields stay absent. The reader trusts nothing: it is for files that anything may have happened to.

const MAP = { fix: [0x80, 15], wide: [0, 0xde, 0xdf] } as const;
const ARRAY = { fix: [0x90, 15], wide: [0, 0xdc, 0xdd] } as const;
const STRING = { fix: [0xa0, 31], wide: [0xd9, 0xda, 0xdb] } as const;

/** Of a vector of bytes of any length. */
export const BYTES_HEADER = 5;
const FIRST_CAPACITY = 4096;

/** Packs values one behind the other. */
export class Packer {
  #buffer = Buffer.allocUnsafe(FIRST_CAPACITY);
  #end = 0;
  #taken = 0;

  /** Bytes since the start, `skip`ped ones included. */
  get length(): number {
    return this.#taken + this.#end;
  }

  /** @returns what was packed since the last call. */
  take(): Uint8Array {
    const part = this.#buffer.subarray(0, this.#end);
    this.#taken += this.#end;
    this.#buffer = Buffer.allocUnsafe(FIRST_CAPACITY);
    this.#end = 0;
    return part;
  }

  /** Counts bytes that are written past this packer. */
  skip(bytes: number): void {
    this.#taken += bytes;
  }

  /** Of so many entries, each a `string` and a value, packed behind it. */
  mapHeader(entries: number): void {
    this.#header(MAP, entries);
  }

  arrayHeader(elements: number): void {
    this.#header(ARRAY, elements);
  }

  /** Of BYTES_HEADER bytes; the vector's own follow. @throws RangeError where the format has no length for it. */
  bytesHeader(bytes: number): void {
    if (bytes >= 2 ** 32) throw new RangeError(`expected a vector of less than 4 GiB, got ${bytes} bytes`);
    this.#sized(0xc6, 4, bytes);
  }

  /** @param extra bytes by which its header is longer than it has to be: 1 or 2 only of up to 31 bytes. */
  string(text: string, extra = 0): void {
    const bytes = Buffer.from(text, 'utf8');
    if (extra > 0) this.#sized(STRING.wide[extra - 1], extra, bytes.length);
    else this.#header(STRING, bytes.length);
    this.#end += bytes.copy(this.#room(bytes.length), this.#end);
  }

  /** Plain data: numbers, strings, booleans, null, arrays, objects whose undefined fields are left out. */
  value(value: unknown): void {
    if (value === null) this.#byte(0xc0);
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.string(value);
    else if (Array.isArray(value)) {
      this.arrayHeader(value.length);
      for (const element of value) this.value(element);
    } else if (typeof value === 'object') {
      const entries = Object.entries(value).filter(([, field]) => field !== undefined);
      this.mapHeader(entries.length);
      for (const [key, field] of entries) {
        this.string(key);
        this.value(field);
      }
    } else throw new TypeError(`expected plain data, got ${typeof value}`);
  }

  #number(value: number): void {
    const whole = Number.isInteger(value) && !Object.is(value, -0);
    if (whole && value >= 0 && value < 128) this.#byte(value);
    else if (whole && value >= -32 && value < 0) this.#byte(value + 256);
    else if (whole && value >= 0 && value < 2 ** 32) this.#sized(0xce, 4, value);
    else {
      this.#byte(0xcb);
      this.#end = this.#room(8).writeDoubleBE(value, this.#end);
    }
  }

  #header({ fix: [token, most], wide }: typeof MAP | typeof ARRAY | typeof STRING, size: number): void {
    if (size <= most) this.#byte(token + size);
    else if (size < 2 ** 8 && wide[0] !== 0) this.#sized(wide[0], 1, size);
    else if (size < 2 ** 16) this.#sized(wide[1], 2, size);
    else this.#sized(wide[2], 4, size);
  }

  #byte(value: number): void {
    this.#end = this.#room(1).writeUInt8(value, this.#end);
  }

  #sized(token: number, width: number, size: number): void {
    this.#byte(token);
    this.#end = this.#room(width).writeUIntBE(size, this.#end, width);
  }

  /** The buffer, with room for so many bytes more. */
  #room(bytes: number): Buffer {
    if (this.#end + bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#end + bytes));
      this.#buffer.copy(larger, 0, 0, this.#end);
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}

/** What cannot be unpacked; `early`: since the bytes end before the value does. */
export class UnpackError extends Error {
  override readonly name = 'UnpackError';
  readonly early: boolean;

  constructor(message: string, early = false) {
    super(message);
    this.early = early;
  }
}

/** A run of 1600 epochs that chooses among 314 tensors in each has 9 million keys and values. */
const MOST_VALUES = 2 ** 24;
const MOST_LEVELS = 32;

/** Unpacks values one behind the other; vectors of bytes are views. Never allocates what the bytes only promise. */
export class Unpacker {
  readonly #bytes: Buffer;
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #position = 0;
  #values = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array) {
    this.#bytes = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  }

  /** Bytes that are left. */
  get rest(): number {
    return this.#bytes.length - this.#position;
  }

  /** @returns entries of the map whose keys and values follow. */
  mapHeader(): number {
    const token = this.#unsigned(1);
    if (token >> 4 === 0x8) return token & 0xf;
    if (token === 0xde || token === 0xdf) return this.#unsigned(token === 0xde ? 2 : 4);
    throw new UnpackError('expected a map');
  }

  /** @throws UnpackError where the bytes end early, or are none of what `Packer` writes. */
  value(level = 0): unknown {
    if (level > MOST_LEVELS) throw new UnpackError(`expected at most ${MOST_LEVELS} levels`);
    if (++this.#values > MOST_VALUES) throw new UnpackError(`expected at most ${MOST_VALUES} values`);
    const token = this.#unsigned(1);
    if (token < 0x80) return token;
    if (token < 0x90) return this.#map(token & 0xf, level);
    if (token < 0xa0) return this.#array(token & 0xf, level);
    if (token < 0xc0) return this.#string(token & 0x1f);
    if (token >= 0xe0) return token - 256;
    switch (token) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return token === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#unsigned(2 ** (token - 0xc4)));
      case 0xcb:
        return this.#take(8).readDoubleBE();
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(2 ** (token - 0xcc));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#unsigned(2 ** (token - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(token === 0xdc ? 2 : 4), level);
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(token === 0xde ? 2 : 4), level);
      default:
        throw new UnpackError(`unexpected byte 0x${token.toString(16)} at ${this.#position - 1}`);
    }
  }

  #array(elements: number, level: number): unknown[] {
    this.#expect(elements);
    const array = [];
    for (let i = 0; i < elements; i++) array.push(this.value(level + 1));
    return array;
  }

  #map(entries: number, level: number): object {
    this.#expect(2 * entries);
    const fields: [string, unknown][] = [];
    for (let i = 0; i < entries; i++) {
      const key = this.value(level + 1);
      if (typeof key !== 'string') throw new UnpackError(`expected keys that are strings, got ${typeof key}`);
      fields.push([key, this.value(level + 1)]);
    }
    // Takes `__proto__` for a key like others.
    const map = Object.fromEntries(fields);
    if (Object.keys(map).length < entries) throw new UnpackError('expected keys that differ');
    return map;
  }

  #string(bytes: number): string {
    const text = this.#take(bytes);
    try {
      return this.#text.decode(text);
    } catch {
      throw new UnpackError('expected strings of UTF-8');
    }
  }

  #unsigned(width: number): number {
    this.#expect(width);
    this.#position += width;
    return this.#bytes.readUIntBE(this.#position - width, width);
  }

  #take(bytes: number): Buffer {
    this.#expect(bytes);
    this.#position += bytes;
    return this.#bytes.subarray(this.#position - bytes, this.#position);
  }

  /** A value takes at least one byte. */
  #expect(bytes: number): void {
    if (bytes <= this.rest) return;
    throw new UnpackError(`expected ${bytes} bytes more at ${this.#position}, got ${this.rest}`, true);
  }
}
