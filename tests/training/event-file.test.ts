// The event files against Python's own writer (fixtures/make-events.py) and known checksums.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AppendFile } from '../../src/training/append-file.ts';
import { type Event, encodeEvent } from '../../src/training/event.ts';
import {
  crc32c,
  EventFile,
  eventFileName,
  frameRecord,
  maskedCrc32c,
} from '../../src/training/event-file.ts';

const fixture = (name: string) => readFileSync(new URL(`fixtures/${name}`, import.meta.url));
const events: readonly Event[] = JSON.parse(fixture('events.json').toString());

const folder = mkdtempSync(join(tmpdir(), 'gradamp-events-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('CRC-32C', () => {
  it.each([
    ['nothing', new Uint8Array(0), 0],
    ['123456789', Buffer.from('123456789'), 0xe3069283],
    // RFC 3720, appendix B.4.
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0..31', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['31..0', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])('of %s', (_, bytes, crc) => {
    expect(crc32c(bytes)).toBe(crc);
  });

  it('is rotated right by 15 bits and offset in a record', () => {
    // 0xe3069283 >> 15 is 0x1c60d, its low 15 bits are 0x1283: 0x2507c60d + 0xa282ead8.
    expect(maskedCrc32c(Buffer.from('123456789'))).toBe(0xc78ab0e5);
  });
});

it('a record is a length, its checksum, the data and their checksum', () => {
  const record = frameRecord(Buffer.from('123456789'));
  expect(record).toHaveLength(8 + 4 + 9 + 4);
  expect(record.readBigUInt64LE(0)).toBe(9n);
  expect(record.readUInt32LE(8)).toBe(maskedCrc32c(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0)));
  expect(record.subarray(12, 21).toString()).toBe('123456789');
  expect(record.readUInt32LE(21)).toBe(0xc78ab0e5);
});

it('events are, byte for byte, what tensorboard 2.21 for Python writes', () => {
  const expected = fixture('events.tfevents');
  const records: Buffer[] = [];
  for (let at = 0; at < expected.length; at += records.at(-1)!.length) {
    records.push(expected.subarray(at, at + 16 + Number(expected.readBigUInt64LE(at))));
  }
  expect(records).toHaveLength(events.length);
  for (const [index, event] of events.entries()) {
    expect(frameRecord(encodeEvent(event)).toString('hex')).toBe(records[index].toString('hex'));
  }
});

const observer = { onFailure: () => {}, onRecovery: () => {} };

it('a file starts with its version, and what is appended is there at once', () => {
  const path = join(folder, 'first');
  const file = new EventFile(new AppendFile(path, observer), events[0].wallTime);
  const first = frameRecord(encodeEvent(events[0]));
  expect(readFileSync(path)).toEqual(first);
  file.append(events.slice(1, 3));
  file.append(events.slice(3));
  expect(readFileSync(path)).toEqual(fixture('events.tfevents'));
});

it('the file of a run that goes on says from which step on it takes over', () => {
  const path = join(folder, 'resumed');
  new EventFile(new AppendFile(path, observer), events[0].wallTime, events[1].step);
  const [version, start] = events.map((event) => frameRecord(encodeEvent(event)));
  expect(readFileSync(path)).toEqual(Buffer.concat([version, start]));
});

describe('the name of an event file', () => {
  const secondOf = (name: string) =>
    Number(/^events\.out\.tfevents\.(\d{10})\..+\.gradamp$/.exec(name)?.[1] ?? Number.NaN);
  const named = (second: number, host = 'elsewhere') => `events.out.tfevents.${second}.${host}.gradamp`;

  it('holds the second in which it is begun', () => {
    expect(secondOf(eventFileName([], 1700000000.25))).toBe(1700000000);
    expect(secondOf(eventFileName(['config.yaml', 'log.jsonl'], 1700000000.25))).toBe(1700000000);
    expect(eventFileName([], 12.5)).toMatch(/^events\.out\.tfevents\.0000000012\./);
  });

  it('comes behind those of all sessions before, also within a second or by a clock put back', () => {
    const first = eventFileName([], 1700000000.25);
    const second = eventFileName([first], 1700000000.75);
    const third = eventFileName([second, first], 1700000000.875);
    expect([first, second, third].map(secondOf)).toEqual([1700000000, 1700000001, 1700000002]);
    expect(secondOf(eventFileName([named(1800000000)], 1700000000))).toBe(1800000001);
    expect(secondOf(eventFileName([named(1600000000)], 1700000000))).toBe(1700000000);
  });
});
