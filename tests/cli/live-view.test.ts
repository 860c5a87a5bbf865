// The picture of a run on a terminal: what it shows, that it fits, and that it leaves the terminal as it was.

import { describe, expect, test } from 'vitest';
import { lastEpoch, planEpoch } from '../../src/amplification/phases.ts';
import type { LayerSelection, Selection } from '../../src/amplification/selection.ts';
import { type LiveState, liveView, type Size } from '../../src/cli/live-view.ts';
import { paint } from '../../src/cli/paint.ts';
import { createReporter } from '../../src/cli/progress.ts';
import { curve, epochColumns, timeline } from '../../src/cli/timeline.ts';
import type { EpochLine, EpochPhase, Progress, RunOutline } from '../../src/training/reporter.ts';
import { ESCAPE, Terminal } from './live-view-terminal.ts';

/** The paper's params1: analyses in 51 and 101, amplified in 52-100 and 102-130. */
const SCHEDULE = [
  { endEpoch: 50, learningRate: 0.1, amplify: false, factor: 1 },
  { endEpoch: 100, learningRate: 0.1, amplify: true, factor: 2 },
  { endEpoch: 130, learningRate: 0.01, amplify: true, factor: 2 },
  { endEpoch: 150, learningRate: 0.01, amplify: false, factor: 1 },
];
const outline: RunOutline = {
  name: 'first',
  model: 'resnet18',
  dataset: 'cifar10',
  devices: ['cuda:0', 'cuda:1'],
  batchSize: 128,
  validation: 0,
  epochs: Array.from({ length: lastEpoch(SCHEDULE) }, (_, index) => {
    const { analysed, acts, learningRate } = planEpoch(SCHEDULE, 'phase', index + 1);
    return { phase: analysed ? 'analysis' : acts ? 'amplified' : 'plain', learningRate };
  }),
};
const phases = outline.epochs.map(({ phase }) => phase);

/** Losses that fall and accuracies that rise, evenly. */
function epochLine(epoch: number): EpochLine {
  const done = epoch / 150;
  return {
    epoch,
    epochs: 150,
    phase: phases[epoch - 1],
    learningRate: 0.1,
    trainLoss: 2 - 1.5 * done,
    trainAccuracy: 0.2 + 0.7 * done,
    validationLoss: null,
    validationAccuracy: null,
    testLoss: 2.25 - 1.5 * done,
    testAccuracy: 0.1 + 0.7 * done,
    seconds: 12,
    imagesPerSecond: 5000,
    skippedSteps: 0,
  };
}
const history = (epochs: number) => Array.from({ length: epochs }, (_, index) => epochLine(index + 1));

const progress = (epoch: number): Progress => ({
  epoch,
  epochs: 150,
  step: 100,
  steps: 391,
  imagesPerSecond: 5321,
  loss: 1.25,
  accuracy: 0.5625,
  secondsLeft: 1042,
  phase: phases[epoch - 1],
});

function selection(candidates: number, chosen: number): Selection {
  const layer = { kind: 'conv2d', size: 9, G: 0.5, Gprime: 0.5, z: 1, standardError: 0.1 };
  const layers = Array.from({ length: candidates }, (_, index): LayerSelection => {
    return {
      ...layer,
      name: `layer${index + 1}.conv`,
      chosen: index < chosen,
      factor: index < chosen ? 2 : 1,
    };
  });
  const rule = { measure: 'G', case: 1, threshold: 1.5, selection: 'threshold' } as const;
  return {
    ...rule,
    score: 'value',
    deviation: 'population',
    pooling: 'layer',
    response: 'amplify',
    epoch: 51,
    iterations: 391,
    noiseFloor: 0.05,
    layers,
  };
}

const text = (state: LiveState, size: Size) =>
  liveView(state, size).map((line) => paint(line, false).trimEnd());
const running: LiveState = {
  outline,
  history: history(56),
  selection: selection(41, 5),
  progress: progress(57),
};

describe('the picture', () => {
  test('at 80 columns and 24 rows', () => {
    expect(text(running, { columns: 80, rows: 24 })).toEqual([
      '',
      'first · resnet18 · cifar10 · 2 × cuda          ▂ plain  █ analysis  ▅ amplified',
      '',
      'epochs       ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂█▅▅▅▅▅▅▅▅▅▅▅▅▅▅█▅▅▅▅▅▅▅▅▂▂▂▂▂▂               lr 0.1',
      '             1                ▲57          101         150    last    best   at',
      'train loss   ▅▅▅▄▄▄▄▃▃▃▃▂▂▂▂▁▁                               1.440   1.440   56',
      'test loss    ▇▇▆▆▆▆▅▅▅▅▄▄▄▄▃▃▃                               1.690   1.690   56',
      'train acc    ▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇                               46.1%   46.1%   56',
      'test acc     ▁▁▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅                               36.1%   36.1%   56',
      '',
      'layers       5 of 41 chosen in epoch 51  layer1.conv  layer2.conv  layer3.conv',
      '             layer4.conv  layer5.conv',
      '',
      'epoch 57     ━━━━━━━━━━━━─────────────────────────────────  step 100/391',
      'of 150       amplified · 5321 images/s · loss 1.250 · acc 56.3% · 17:22 left',
    ]);
  });

  describe('of a run that holds images out', () => {
    const validated: LiveState = {
      ...running,
      outline: { ...outline, validation: 5000 },
      history: history(56).map((line) => ({ ...line, validationLoss: 2, validationAccuracy: 0.25 })),
    };
    const shown = (rows: number) =>
      text(validated, { columns: 80, rows }).filter((line) => /^(train|val|test) /.test(line));

    test('has curves of their loss and accuracy between those of training and test', () => {
      const lines = shown(24);
      expect(lines.map((line) => line.split('  ')[0])).toEqual([
        ...['train loss', 'val loss', 'test loss', 'train acc', 'val acc', 'test acc'],
      ]);
      expect(lines[1]).toMatch(/^val loss {5}▅{17} +2\.000 {3}2\.000 {4}1$/);
      expect(lines[4]).toMatch(/^val acc {6}▃{17} +25\.0% {3}25\.0% {4}1$/);
    });

    test('shows the test curves only where there is room for all', () => {
      const names = shown(10).map((line) => line.split('  ')[0]);
      expect(names).toEqual(['train loss', 'val loss', 'train acc', 'val acc']);
    });
  });

  test('before the first epoch is complete', () => {
    const lines = text({ outline, history: [], progress: progress(1) }, { columns: 80, rows: 12 });
    expect(lines.slice(2)).toEqual([
      '             ▲1             51             101         150    last    best   at',
      'train loss                                                       -       -',
      'test loss                                                        -       -',
      'train acc                                                        -       -',
      'test acc                                                         -       -',
      'layers       chosen at the end of epoch 51',
      'epoch 1      ━━━━━━━━━━━━─────────────────────────────────  step 100/391',
      'of 150       plain · 5321 images/s · loss 1.250 · acc 56.3% · 17:22 left',
    ]);
  });

  test('of a complete run has no progress, and of one without analyses no layers', () => {
    const epochs = outline.epochs.map(({ learningRate }) => ({ phase: 'plain', learningRate }) as const);
    const lines = text({ outline: { ...outline, epochs }, history: history(150) }, { columns: 80, rows: 24 });
    expect(lines.at(-1)).toMatch(/^test acc .* 80\.0% {3}80\.0% {2}150$/);
  });

  test.each([60, 61, 79, 80, 81, 100, 140, 200, 300])('fits %i columns at every height', (columns) => {
    const states = [
      running,
      { outline, history: [], progress: progress(1) },
      { ...running, selection: selection(209, 209) },
      { ...running, outline: { ...outline, validation: 10 } },
      { ...running, outline: { ...outline, name: 'a-name-that-is-longer-than-the-terminal'.repeat(9) } },
      { ...running, selection: { ...selection(2, 0), degenerate: 'a reason that is long '.repeat(20) } },
    ];
    for (const state of states) {
      for (let rows = 10; rows <= 80; rows += rows < 30 ? 1 : 10) {
        const lines = text(state, { columns, rows });
        expect(lines.length).toBeLessThan(rows);
        for (const line of lines) expect(line.length).toBeLessThan(columns);
      }
    }
  });

  test.each([1, 2, 3, 12, 44, 45, 46, 90, 150, 999])(
    'shows each of %i epochs in one column at least',
    (epochs) => {
      for (const width of [25, 45, 105]) {
        const columns = epochColumns(epochs, width);
        expect(columns).toHaveLength(width);
        const shown = columns.flatMap((column) =>
          column ? Array.from({ length: column.last - column.first + 1 }, (_, i) => column.first + i) : [],
        );
        expect([...new Set(shown)]).toEqual(Array.from({ length: epochs }, (_, i) => i + 1));
        expect(shown).toEqual(shown.toSorted((a, b) => a - b));
      }
    },
  );

  test('an analysis is never lost in a column that many epochs share', () => {
    const columns = epochColumns(150, 25);
    const shown = paint(timeline(columns, phases, 150), false);
    expect([...shown].filter((block) => block === '█')).toHaveLength(2);
  });

  test('phases have their colours, dim where they are still to come', () => {
    const epochs: EpochPhase[] = ['plain', 'analysis', 'amplified', 'plain'];
    expect(timeline(epochColumns(4, 4), epochs, 2)).toEqual([
      { text: '▂', style: 'cyan' },
      { text: '█', style: 'yellow' },
      { text: '▅', style: 'dim magenta' },
      { text: '▂', style: 'dim cyan' },
    ]);
  });

  test('says what becomes of the chosen layers where that is not amplification', () => {
    const as = (phase: 'frozen' | 'scaled', response: 'freeze' | 'continuous', factor: number) => {
      const epochs = outline.epochs.map((epoch) =>
        epoch.phase === 'amplified' ? { ...epoch, phase } : epoch,
      );
      const { layers, ...rest } = selection(41, 2);
      const changed = layers.map((layer) => ({ ...layer, factor: layer.chosen ? factor : 1 }));
      const state = {
        outline: { ...outline, epochs },
        history: [],
        selection: { ...rest, layers: changed, response },
        progress: { ...progress(57), phase },
      };
      const lines = text(state, { columns: 80, rows: 24 });
      const [, title, , drawing] = lines;
      return [
        title.slice(-31),
        drawing.slice(27, 30),
        lines[10].slice(13),
        lines[lines.length - 1].slice(13, 19),
      ];
    };
    expect(as('frozen', 'freeze', 0)).toEqual([
      '  ▂ plain  █ analysis  ▁ frozen',
      '▂█▁',
      '2 of 41 chosen in epoch 51, frozen  layer1.conv  layer2.conv',
      'frozen',
    ]);
    expect(as('scaled', 'continuous', 1.6245)).toEqual([
      '  ▂ plain  █ analysis  ▄ scaled',
      '▂█▄',
      '2 of 41 chosen in epoch 51, scaled  layer1.conv ×1.62',
      'scaled',
    ]);
  });

  test('an epoch that was planned as amplified but had no layer is shown as plain', () => {
    const [first] = history(1);
    const epochs = [{ phase: 'amplified', learningRate: 0.1 }] as const;
    const state = { outline: { ...outline, epochs }, history: [{ ...first, phase: 'plain' as const }] };
    expect(text(state, { columns: 80, rows: 10 })[0]).toMatch(/^epochs {7}▂{45} /);
  });

  test('a curve is as high as its values are, means where epochs share a column', () => {
    const style = { range: [0, 6], dim: false } as const;
    const bars = (values: (number | null)[], width: number, height: number) =>
      curve(
        epochColumns(values.length, width),
        values.map(() => 'plain'),
        values,
        { ...style, height },
      ).map((line) => paint(line, false));
    expect(bars([0, 1, 2, 3, 4, 5, 6], 7, 1)).toEqual(['▁▂▃▄▅▆▇']);
    expect(bars([0, 2, 4, 6], 2, 1)).toEqual(['▂▆']);
    expect(bars([0, 3, 6], 3, 2)).toEqual(['  ▇', '▁██']);
    expect(bars([6, null, Number.NaN, Number.POSITIVE_INFINITY, 0], 5, 1)).toEqual(['▇   ▁']);
  });

  test('names of layers that have no room are counted', () => {
    const lines = text({ ...running, selection: selection(209, 100) }, { columns: 80, rows: 10 });
    expect(lines[6]).toBe('layers       100 of 209 chosen in epoch 51  layer1.conv  layer2.conv  +98 more');
    const none = { ...selection(9, 0), degenerate: 'all layers have the same value' };
    expect(text({ ...running, selection: none }, { columns: 80, rows: 10 })[6]).toBe(
      'layers       0 of 9 chosen in epoch 51: all layers have the same value',
    );
  });
});

describe('on the terminal', () => {
  function watch(columns: number, rows: number, environment: NodeJS.ProcessEnv = {}) {
    const terminal = new Terminal(columns, rows);
    const time = { now: 0 };
    return { terminal, time, reporter: createReporter(terminal, { clock: () => time.now, environment }) };
  }
  const picture = (state: LiveState, size: Size) => text(state, size);

  test('a run that goes on shows the epochs that are complete, and its last choice', () => {
    const { terminal, time, reporter } = watch(80, 24);
    reporter.start(outline, history(52), selection(41, 5));
    time.now += 1000;
    reporter.update(progress(53));
    const state = { outline, history: history(52), selection: selection(41, 5), progress: progress(53) };
    expect(terminal.lines).toEqual(picture(state, terminal));
    reporter.close();
  });

  test('the picture is redrawn in place, below what stays', () => {
    const { terminal, time, reporter } = watch(80, 24);
    reporter.message('before');
    reporter.start(outline, []);
    for (const line of history(56)) {
      time.now += 1000;
      reporter.update(progress(line.epoch));
      if (line.epoch === 51) reporter.selection(selection(41, 5));
      reporter.epochEnd(line);
    }
    time.now += 1000;
    reporter.update(progress(57));
    expect(terminal.lines).toEqual([
      'before',
      'epoch 51 analysis: 5 of 41 layers chosen by G, z > 1.5: layer1.conv layer2.conv',
      '  layer3.conv layer4.conv layer5.conv',
      ...picture(running, terminal),
    ]);
    reporter.close();
  });

  test('a redraw is one write, at most ten times a second', () => {
    const { terminal, time, reporter } = watch(80, 24);
    reporter.start(outline, []);
    const before = terminal.writes.length;
    for (time.now = 100; time.now < 1100; time.now++) reporter.update(progress(1));
    expect(terminal.writes.length - before).toBe(10);
    reporter.close();
  });

  test('the last epoch leaves the picture without the progress, and what follows stands below it', () => {
    const { terminal, reporter } = watch(80, 24);
    reporter.start(outline, []);
    for (const line of history(150)) {
      reporter.update(progress(line.epoch));
      reporter.epochEnd(line);
    }
    reporter.message('done');
    expect(terminal.lines).toEqual([
      ...picture({ outline, history: history(150) }, terminal),
      '',
      'done',
      '',
    ]);
    expect(terminal.cursorVisible).toBe(true);
    const written = terminal.writes.length;
    reporter.close();
    expect(terminal.writes).toHaveLength(written);
  });

  test('the cursor is hidden while the picture stands, and comes back at the end', () => {
    const { terminal, reporter } = watch(80, 24);
    const listeners = process.listenerCount('exit');
    expect(terminal.cursorVisible).toBe(true);
    reporter.start(outline, []);
    expect(terminal.cursorVisible).toBe(false);
    expect(process.listenerCount('exit')).toBe(listeners + 1);
    reporter.close();
    expect(terminal.cursorVisible).toBe(true);
    expect(process.listenerCount('exit')).toBe(listeners);
    expect(terminal.style).toBe('');
  });

  test('the cursor comes back when the program ends without closing', () => {
    const { terminal, reporter } = watch(80, 24);
    reporter.start(outline, []);
    const restore = process.listeners('exit').at(-1);
    restore?.call(process, 1);
    expect(terminal.cursorVisible).toBe(true);
    reporter.close();
  });

  test('a run that fails before it starts leaves nothing', () => {
    const { terminal, reporter } = watch(80, 24);
    reporter.close();
    expect(terminal.writes).toEqual([]);
  });

  test('NO_COLOR is heeded', () => {
    const colourless = watch(80, 24, { NO_COLOR: '1' });
    const coloured = watch(80, 24);
    for (const { reporter } of [colourless, coloured]) {
      reporter.start(outline, []);
      reporter.close();
    }
    expect(colourless.terminal.writes.join('')).not.toMatch(new RegExp(`${ESCAPE}\\[[\\d;]*m`));
    expect(coloured.terminal.writes.join('')).toContain(`${ESCAPE}[36m▂`);
    expect(colourless.terminal.lines).toEqual(coloured.terminal.lines);
  });

  test('a terminal that becomes small gets the line, with lasting epochs, and the picture when it grows again', () => {
    const { terminal, time, reporter } = watch(80, 24);
    reporter.start(outline, []);
    terminal.rows = 9;
    time.now += 200;
    reporter.update(progress(1));
    reporter.epochEnd(epochLine(1));
    const [last] = terminal.lines.slice(-1);
    expect(terminal.lines.slice(-2)).toEqual([expect.stringMatching(/^epoch {3}1\/150 plain /), last]);
    expect(last).toMatch(/^epoch 1\/150 plain step 100\/391 /);
    terminal.rows = 24;
    time.now += 200;
    reporter.update(progress(2));
    const state = { outline, history: history(1), progress: progress(2) };
    expect(terminal.lines.slice(-picture(state, terminal).length)).toEqual(picture(state, terminal));
    reporter.close();
  });

  test('a terminal made narrower has wrapped the picture: all its rows are overwritten', () => {
    const { terminal, time, reporter } = watch(140, 40);
    reporter.start(outline, []);
    const height = picture({ outline, history: [] }, { columns: 140, rows: 40 }).length;
    terminal.columns = 80;
    time.now += 200;
    reporter.update(progress(1));
    const [, up] = /\[(\d+)A/.exec(terminal.writes.at(-1) ?? '') ?? [];
    const wide = liveView({ outline, history: [] }, { columns: 140, rows: 40 })
      .slice(0, -1)
      .filter((line) => paint(line, false).length > 80).length;
    expect(wide).toBeGreaterThan(0);
    expect(Number(up)).toBe(height - 1 + wide);
    reporter.close();
  });

  test.each([
    [59, 24],
    [80, 9],
  ])('%i columns and %i rows are too small from the start', (columns, rows) => {
    const { terminal, reporter } = watch(columns, rows);
    reporter.start(outline, []);
    reporter.epochEnd(epochLine(1));
    expect(terminal.cursorVisible).toBe(true);
    expect(terminal.lines[0]).toMatch(/^run first: resnet18, cifar10, 2 × cuda, batch 128/);
    reporter.close();
  });
});
