// TensorBoard's event files: records in TFRecord framing, appended to a file. What a record says is event.ts's.

import { hostname } from 'node:os';
import type { AppendFile } from './append-file.ts';
import { type Event, encodeEvent } from './event.ts';

/** The reflected Castagnoli polynomial, RFC 3720, appendix B.4. */
const POLYNOMIAL = 0x82f63b78;
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? POLYNOMIAL : 0);
  return remainder;
});

/** CRC-32C (Castagnoli) of bytes, unsigned. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ REMAINDERS[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

/** The checksum that TFRecord stores: rotated and offset, so that a CRC over bytes that hold CRCs stays good. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** One TFRecord: uint64 length, masked CRC of the length, data, masked CRC of the data; little-endian. */
export function frameRecord(data: Uint8Array): Buffer {
  const header = Buffer.alloc(12);
  header.writeBigUInt64LE(BigInt(data.length));
  header.writeUInt32LE(maskedCrc32c(header.subarray(0, 8)), 8);
  const footer = Buffer.alloc(4);
  footer.writeUInt32LE(maskedCrc32c(data));
  return Buffer.concat([header, data, footer]);
}

const NAME = /^events\.out\.tfevents\.(\d{10,})\./;

/**
 * A name that none of `names`, the files of the folder, has, and that comes behind all of them: TensorBoard reads the
 * files of a folder in the order of their names.
 * @param started in seconds since 1970; later in the name where an earlier session has taken that second.
 */
export function eventFileName(names: readonly string[], started: number): string {
  const taken = names.map((name) => Number(NAME.exec(name)?.[1] ?? 0));
  const time = Math.max(Math.floor(started), ...taken.map((second) => second + 1));
  return `events.out.tfevents.${String(time).padStart(10, '0')}.${hostname()}.gradamp`;
}

/** An event file that grows by whole records, so that a reader may follow it while the run goes on. */
export class EventFile {
  readonly #file: AppendFile;

  /**
   * @param started in seconds since 1970.
   * @param resumedAt the first step of a run that goes on; TensorBoard forgets what earlier files say from there on.
   */
  constructor(file: AppendFile, started: number, resumedAt?: number) {
    this.#file = file;
    const version: Event = { wallTime: started, step: 0, what: { fileVersion: 'brain.Event:2' } };
    if (resumedAt === undefined) this.append([version]);
    else this.append([version, { wallTime: started, step: resumedAt, what: { sessionLog: 'start' } }]);
  }

  /** In one write. */
  append(events: readonly Event[]): void {
    this.#file.append(Buffer.concat(events.map((event) => frameRecord(encodeEvent(event)))));
  }
}
