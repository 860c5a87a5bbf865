// Numbers and tables as they are printed.

import { expect, test } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatLearningRate,
  formatLoss,
  formatMacs,
  formatNumberOf,
  formatPercent,
  formatRate,
} from '../../src/cli/format.ts';
import { formatTable } from '../../src/cli/table.ts';

test('durations grow from seconds to hours and carry over', () => {
  expect([0, 4.21, 9.96, 45, 59.6, 60, 125, 3599.7, 3723, 360_000].map(formatDuration)).toEqual([
    '0.0 s',
    '4.2 s',
    '10 s',
    '45 s',
    '1:00',
    '1:00',
    '2:05',
    '1:00:00',
    '1:02:03',
    '100:00:00',
  ]);
});

test('counts, shares, losses, rates and sizes', () => {
  expect(formatCount(11_173_962)).toBe('11,173,962');
  expect([formatPercent(0.56719), formatPercent(1, 2), formatPercent(null)]).toEqual([
    '56.7%',
    '100.00%',
    '-',
  ]);
  expect([formatLoss(1.23456), formatLoss(123_456), formatLoss(null), formatLoss(Number.NaN)]).toEqual([
    '1.235',
    '1.23e+5',
    '-',
    '-',
  ]);
  expect([formatRate(12.34), formatRate(1234.5)]).toEqual(['12.3', '1235']);
  expect([formatMacs(555_422_720), formatMacs(12_500_000)]).toEqual(['0.555 G', '12.50 M']);
  expect([formatBytes(16 * 2 ** 30), formatBytes(2 ** 29)]).toEqual(['16.0 GiB', '512 MiB']);
  expect([85_504, 2 ** 20, 0].map(formatBytes)).toEqual(['84 KiB', '1 MiB', '0 KiB']);
  expect([0, 1, 12].map((count) => formatNumberOf(count, 'epoch'))).toEqual([
    '0 epochs',
    '1 epoch',
    '12 epochs',
  ]);
});

test('a table aligns its columns, rules off head and foot and leaves no blanks at line ends', () => {
  const columns = [{ title: 'layer' }, { title: 'size', align: 'right' }, { title: 'note' }] as const;
  expect(
    formatTable(
      columns,
      [
        ['conv1', '1,728', ''],
        ['bn', '64', 'small'],
      ],
      ['2', '1,792', ''],
    ),
  ).toBe(
    [
      'layer   size  note',
      '─────  ─────  ─────',
      'conv1  1,728',
      'bn        64  small',
      '─────  ─────  ─────',
      '2      1,792',
    ].join('\n'),
  );
});

test('colours do not count in a column’s width', () => {
  expect(formatTable([{ title: 'a' }, { title: 'b' }], [['\x1b[31mx\x1b[39m', 'y']]).split('\n')[2]).toBe(
    '\x1b[31mx\x1b[39m  y',
  );
});

test('learning rates have four digits at the most', () => {
  expect([0.1, 0.01, 0.0040000000000000036, 0.09944154354509119, 4e-7].map(formatLearningRate)).toEqual([
    '0.1',
    '0.01',
    '0.004',
    '0.09944',
    '4e-7',
  ]);
});
