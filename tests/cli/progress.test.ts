// What a run looks like on a terminal and in a file.

import { describe, expect, test } from 'vitest';
import { createReporter } from '../../src/cli/progress.ts';
import { describeSelection } from '../../src/cli/progress-line.ts';
import type { EpochLine, Progress } from '../../src/training/reporter.ts';
import { selection } from '../training/fixtures.ts';

const progress: Progress = {
  epoch: 3,
  epochs: 12,
  step: 10,
  steps: 20,
  imagesPerSecond: 321.6,
  loss: 1.23456,
  accuracy: 0.5672,
  secondsLeft: 125,
  phase: 'amplified',
};

const epoch: EpochLine = {
  epoch: 3,
  epochs: 12,
  phase: 'plain',
  learningRate: 0.1,
  trainLoss: 1.23456,
  trainAccuracy: 0.5672,
  validationLoss: null,
  validationAccuracy: null,
  testLoss: 1.5,
  testAccuracy: 0.5,
  seconds: 12.4,
  imagesPerSecond: 321.6,
  skippedSteps: 0,
};

/** A stream that remembers, and a clock that is set by hand. */
function watch(stream: { isTTY?: boolean; columns?: number }, environment: NodeJS.ProcessEnv = {}) {
  const written: string[] = [];
  const time = { now: 0 };
  const write = (text: string | Uint8Array) => written.push(String(text)) > 0;
  const reporter = createReporter({ ...stream, write }, { clock: () => time.now, environment });
  return { reporter, time, text: () => written.join(''), last: () => written.at(-1) };
}

const ESCAPE = '\x1b';
const ERASE = `${ESCAPE}[K`;

/** What a terminal shows after these characters: carriage return and erase-to-end only. */
function screen(text: string): string[] {
  const lines = [''];
  for (const part of text.replaceAll(ERASE, '').split(/(\r|\n)/)) {
    if (part === '\n') lines.push('');
    else if (part === '\r') lines[lines.length - 1] = '';
    else lines[lines.length - 1] += part;
  }
  return lines;
}

describe('in a file or a pipe', () => {
  test('an epoch is one line that grep finds', () => {
    const { reporter, text } = watch({});
    reporter.epochEnd(epoch);
    reporter.epochEnd({ ...epoch, epoch: 4, phase: 'amplified', skippedSteps: 2 });
    reporter.close();
    expect(text()).toBe(
      'epoch 3/12 plain lr 0.1 loss 1.235 acc 56.7% test loss 1.500 test acc 50.0% 12 s 322 images/s\n' +
        'epoch 4/12 amplified lr 0.1 loss 1.235 acc 56.7% test loss 1.500 test acc 50.0% 12 s 322 images/s skipped 2 steps\n',
    );
  });

  test('what the images held out say stands before what the test images say', () => {
    const { reporter, text } = watch({});
    reporter.epochEnd({ ...epoch, validationLoss: 1.25, validationAccuracy: 0.625 });
    expect(text()).toBe(
      'epoch 3/12 plain lr 0.1 loss 1.235 acc 56.7% val loss 1.250 val acc 62.5% test loss 1.500 test acc 50.0% 12 s 322 images/s\n',
    );
  });

  test('within an epoch there is a line every 15 seconds, counted from the last line of any kind', () => {
    const { reporter, time, text } = watch({});
    for (time.now = 0; time.now <= 40_000; time.now += 200) {
      if (time.now === 20_000) reporter.message('chosen: conv1');
      reporter.update(progress);
    }
    const line = 'epoch 3/12 amplified step 10/20 322 images/s loss 1.235 acc 56.7% 2:05 left';
    expect(text().split('\n')).toEqual([line, 'chosen: conv1', line, '']);
  });

  test('figures that are not there yet are left out, and missing accuracies are a dash', () => {
    const { reporter, time, text } = watch({});
    time.now = 20_000;
    const nothing = {
      loss: Number.NaN,
      accuracy: Number.NaN,
      imagesPerSecond: 0,
      secondsLeft: Number.POSITIVE_INFINITY,
    };
    reporter.update({ ...progress, ...nothing, step: 0 });
    reporter.epochEnd({ ...epoch, trainLoss: null, trainAccuracy: null, skippedSteps: 20 });
    expect(text()).toBe(
      'epoch 3/12 amplified step 0/20\n' +
        'epoch 3/12 plain lr 0.1 loss - acc - test loss 1.500 test acc 50.0% 12 s 322 images/s skipped 20 steps\n',
    );
  });

  test('there are no escape sequences, nor on a dumb terminal', () => {
    for (const watched of [watch({}), watch({ isTTY: true }, { TERM: 'dumb' })]) {
      watched.time.now = 20_000;
      watched.reporter.update(progress);
      watched.reporter.epochEnd(epoch);
      watched.reporter.close();
      expect(watched.text()).not.toContain(ESCAPE);
      expect(watched.text()).not.toContain('\r');
    }
  });
});

describe('on a terminal', () => {
  const plain = { NO_COLOR: '1' };

  test('one line is rewritten, and epochs and messages stay above it', () => {
    const { reporter, time, text } = watch({ isTTY: true, columns: 140 }, plain);
    reporter.update(progress);
    time.now = 200;
    reporter.update({ ...progress, step: 20 });
    const bar = '━'.repeat(20);
    const shown = `epoch 3/12 amplified ${bar} step 20/20 322 images/s loss 1.235 acc 56.7% 2:05 left`;
    expect(screen(text())).toEqual([shown]);
    reporter.message('chosen: conv1');
    expect(screen(text())).toEqual(['chosen: conv1', shown]);
    reporter.epochEnd(epoch);
    reporter.close();
    expect(screen(text())).toEqual([
      'chosen: conv1',
      'epoch  3/12 plain     lr 0.1 loss 1.235 acc 56.7% test loss 1.500 test acc 50.0% 12 s 322 images/s',
      '',
    ]);
  });

  test('the line is redrawn at most ten times a second', () => {
    const { reporter, time, text } = watch({ isTTY: true, columns: 100 }, plain);
    for (time.now = 0; time.now < 1000; time.now++) reporter.update(progress);
    expect(text().split('\r').length - 1).toBe(10);
  });

  test.each([200, 140, 100, 80, 60, 40, 20, 12, 5, 1])('no line fills %i columns', (columns) => {
    const { reporter, text } = watch({ isTTY: true, columns }, plain);
    reporter.update(progress);
    reporter.epochEnd({ ...epoch, skippedSteps: 3 });
    for (const line of screen(text())) expect(line.length).toBeLessThan(Math.max(columns, 2));
  });

  test('what matters least is left out first', () => {
    const { reporter, text } = watch({ isTTY: true, columns: 60 }, plain);
    reporter.update(progress);
    expect(screen(text())).toEqual(['epoch 3/12 amplified step 10/20 loss 1.235 2:05 left']);
  });

  test('a terminal that is made narrower gets shorter lines', () => {
    let text = '';
    const write = (part: string | Uint8Array) => {
      text += part;
      return true;
    };
    const stream = { isTTY: true, columns: 100, write };
    const clock = { now: 0 };
    const reporter = createReporter(stream, { clock: () => clock.now, environment: plain });
    reporter.update(progress);
    stream.columns = 30;
    clock.now = 1000;
    reporter.update(progress);
    expect(screen(text)).toEqual(['epoch 3/12 2:05 left']);
  });

  test('colours are used, and end where they began, unless NO_COLOR is set', () => {
    const coloured = watch({ isTTY: true, columns: 100 });
    coloured.reporter.update(progress);
    expect(coloured.text()).toContain('\x1b[35mamplified\x1b[39m');
    const colourless = watch({ isTTY: true, columns: 100 }, plain);
    colourless.reporter.update(progress);
    expect(colourless.text().replaceAll(ERASE, '')).not.toContain(ESCAPE);
  });

  test('the cursor is never hidden and nothing is left behind', () => {
    const { reporter, text, last } = watch({ isTTY: true, columns: 100 });
    reporter.update(progress);
    reporter.close();
    expect(last()).toBe('\r\x1b[K');
    expect(text()).not.toContain('\x1b[?');
    reporter.close();
    expect(screen(text())).toEqual(['']);
  });
});

test('an analysis tells what becomes of the layers that it chose', () => {
  const line = (changes: object) => describeSelection({ ...selection, ...changes });
  const [first, second] = selection.layers;
  expect(line({})).toBe('epoch 5 analysis: 1 of 3 layers chosen by G, z > 1: conv1');
  expect(line({ pooling: 'tensor' })).toBe('epoch 5 analysis: 1 of 3 tensors chosen by G, z > 1: conv1');
  expect(line({ layers: [first] })).toBe('epoch 5 analysis: 1 of 1 layer chosen by G, z > 1: conv1');
  expect(line({ response: 'freeze', selection: 'inverted', case: 2 })).toBe(
    'epoch 5 analysis: 1 of 3 layers chosen by G, |z| > 1 (inverted), frozen: conv1',
  );
  expect(line({ selection: 'random', ratio: 0.3 })).toBe(
    'epoch 5 analysis: 1 of 3 layers chosen (random, 0.3 of all): conv1',
  );
  expect(line({ score: 'significance', selection: 'random' })).toBe(
    'epoch 5 analysis: 1 of 3 layers chosen by the significance of G, z > 1 (random): conv1',
  );
  const layers = [
    { ...first, factor: 1.62451 },
    { ...second, chosen: true, factor: 0.75 },
  ];
  expect(line({ response: 'continuous', selection: 'all', layers })).toBe(
    'epoch 5 analysis: 2 of 2 layers chosen (all), scaled: conv1 ×1.62 conv2 ×0.750',
  );
});
