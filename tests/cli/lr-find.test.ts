// `gradamp lr-find`: its picture, what it says of it, its JSON, and what it refuses.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeFindings } from '../../src/cli/lr-find.ts';
import { drawRates } from '../../src/cli/rate-chart.ts';
import { synthesize } from '../../src/data/synthetic.ts';
import type { RateFindings } from '../../src/parallel/lr-finder.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'gradamp-lr-find-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** From 1e-4 to 1: flat at 2, down to 1 at 0.01, up to 1.2, and away. */
const CURVE = [
  [1e-4, 2],
  [1e-3, 2],
  [1e-2, 1],
  [1e-1, 1.2],
  [1, 9],
];
const points = CURVE.map(([learningRate, loss], index) => ({
  step: index + 1,
  ...{ learningRate, loss },
  ...{ smoothedRate: learningRate, smoothedLoss: loss },
}));
const range = { from: 1e-4, to: 1, steps: 5 };
const findings: RateFindings = {
  points,
  end: 'complete',
  suggestions: { steepest: 10 ** -2.5, minimum: 0.01, tenthOfMinimum: 0.001 },
};

describe('the picture', () => {
  const text = (lines: ReturnType<typeof drawRates>) =>
    lines.map((spans) =>
      spans
        .map((span) => span.text)
        .join('')
        .trimEnd(),
    );

  test('has the loss over the log of the rate; of a rise behind the minimum a quarter of the fall', () => {
    const lines = text(drawRates({ points, rates: [1e-4, 1], marks: [] }, 8 + 61));
    // 61 columns over four factors of ten: one each 15. The loss 2 is at 4/5 of the range 1 to 2.25.
    expect(lines).toHaveLength(10 + 2);
    // 2.24 at column 47, two fifteenths of the way from 1.2 to 9: cut from column 48 on.
    expect(lines[0]).toBe(`  2.250 ${' '.repeat(47)}▆${'▇'.repeat(13)}`);
    const column = (index: number) => lines.slice(0, 10).map((line) => line[8 + index] ?? ' ');
    expect(column(0).join('')).toBe('  ▇███████');
    expect(column(15)).toEqual(column(0));
    expect(column(30).join('')).toBe('         ▁');
    expect(column(60).join('')).toBe('▇█████████');
    expect(lines.at(-2)).toBe(`        ${`┬${'─'.repeat(14)}`.repeat(4)}┬`);
    const labels = [...(lines.at(-1)?.slice(8) ?? '').matchAll(/\S+/g)].map(({ index, 0: label }) => [
      index,
      label,
    ]);
    expect(labels).toEqual([
      [0, '1e-4'],
      [13, '1e-3'],
      [28, '0.01'],
      [44, '0.1'],
      [60, '1'],
    ]);
  });

  test('a range within a factor of ten has ticks at 1, 2 and 5', () => {
    const lines = text(drawRates({ points, rates: [0.1, 0.6], marks: [] }, 60));
    expect(lines.at(-1)?.trim().split(/\s+/)).toEqual(['0.1', '0.2', '0.5']);
  });

  test('marks stand at their columns, their text where there is room', () => {
    const marks = [
      { learningRate: 0.01, text: 'in the middle', colour: 'cyan' },
      { learningRate: 0.99, text: 'at the right', colour: 'yellow' },
      { learningRate: 1e-5, text: 'left of it', colour: 'magenta' },
    ] as const;
    const lines = text(drawRates({ points, rates: [1e-4, 1], marks }, 8 + 61)).slice(-3);
    expect(lines[0]).toBe(`${' '.repeat(8 + 30)}▲ in the middle`);
    expect(lines[1]).toBe(`${' '.repeat(8 + 47)}at the right ▲`);
    expect(lines[2]).toBe('        ◂ left of it');
  });

  test.each([60, 80, 140])('at %i columns no line is wider', (columns) => {
    const drawn = describeFindings(findings, range, { columns }).split('\n').slice(2, 17);
    expect(Math.max(...drawn.map((line) => line.length))).toBeLessThanOrEqual(Math.min(columns, 100));
  });
});

describe('what is said of it', () => {
  test('names both rates and the recommended one', () => {
    const lines = describeFindings(findings, range).split('\n');
    expect(lines[0]).toBe('training loss, smoothed, over the learning rate; all 5 steps');
    expect(lines.slice(-2)).toEqual([
      'recommended: 0.0032, where the loss falls most steeply; a rate to start tuning from',
      'the other rule: 0.001, a tenth of the rate where the loss is lowest',
    ]);
    expect(lines.join('\n')).not.toContain('\x1b');
  });

  test('is coloured on a terminal', () => {
    const { NO_COLOR, TERM } = process.env;
    Object.assign(process.env, { NO_COLOR: '', TERM: 'xterm' });
    try {
      expect(describeFindings(findings, range, { isTTY: true })).toContain('\x1b[33m▲\x1b[39m');
    } finally {
      for (const [name, value] of Object.entries({ NO_COLOR, TERM })) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });

  test('says where it ended early, and where nothing can be suggested', () => {
    expect(describeFindings({ ...findings, end: 'diverged' }, { ...range, steps: 20 })).toMatch(
      /; 5 of 20 steps, up to 1: the loss left its range there\n/,
    );
    expect(describeFindings({ points: [], end: 'stopped', suggestions: null }, range)).toBe(
      'training loss, smoothed, over the learning rate; stopped after 0 of 5 steps',
    );
    expect(describeFindings({ ...findings, suggestions: null }, range)).toMatch(
      /\nno suggestion: the loss did not fall; try a lower --from, or more --steps$/,
    );
    const falling = { ...findings, points: points.slice(0, 3) };
    expect(describeFindings(falling, range)).toMatch(/\nthe loss still fell at the end: try a higher --to$/);
  });
});

describe('the command', () => {
  const gradamp = (...options: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [MAIN, 'lr-find', 'run.yaml', ...options],
      {
        cwd: folder,
        encoding: 'utf8',
      },
    );
    return { status, stdout, stderr };
  };
  beforeAll(async () => {
    await synthesize({ dataset: 'cifar10', directory: join(folder, 'data'), seed: 1, train: 16, test: 10 });
    writeFileSync(
      join(folder, 'run.yaml'),
      'model: { name: resnet8, width: 0.125 }\ndataset: cifar10\ndataDir: data\nbatchSize: 4\nschedule: [[1, 0.1, false, 1]]\n',
    );
  });

  test('prints every point and the suggestions as JSON, and writes nothing', () => {
    const { status, stdout, stderr } = gradamp('--json', '--steps', '20', '--to', '1');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ config: 'run.yaml', from: 1e-5, to: 1, steps: 20, end: 'complete' });
    expect(result.points).toHaveLength(20);
    expect(Object.keys(result.points[0])).toEqual([
      'step',
      'learningRate',
      'loss',
      'smoothedRate',
      'smoothedLoss',
    ]);
    expect(result.suggestions === null || 'steepest' in result.suggestions).toBe(true);
    expect(existsSync(join(folder, 'runs'))).toBe(false);
  });

  test.each([
    [['--from', '1', '--to', '0.5'], '--from: expected a rate below --to, which is 0.5, got 1'],
    [
      ['--steps', '5'],
      "option '--steps <n>' argument '5' is invalid. Expected a whole number from 20 to 100000.",
    ],
  ])('%j is one line and exit code 2', (options, message) => {
    const { status, stdout, stderr } = gradamp(...options);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toBe(`gradamp: ${message}\n`);
  });
});
