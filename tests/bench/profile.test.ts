import { expect, it } from 'vitest';
import { measuredConfig } from '../../bench/measured.ts';
import { chromeTrace, profileSteps, type StepTiming, summarise } from '../../bench/profile.ts';

const timing = (step: number, start: number, duration: number, changes: Partial<StepTiming>): StepTiming => ({
  ...{ name: 'conv1', op: 'conv2d', layer: 'conv1', phase: 'forward', step, start, duration },
  ...changes,
});

/** Two steps of three operations. */
const timings = [0, 10_000].flatMap((start, step) => [
  timing(step, start, 1000, {}),
  timing(step, start + 1000, 500, { name: 'relu2', op: 'relu', layer: undefined }),
  timing(step, start + 2000, 2000 + 1000 * step, { phase: 'backward' }),
]);

it('rows are means over the steps, in milliseconds, the slowest first', () => {
  // Step 1: 1 + 0.5 + 2 ms, step 2: 1 + 0.5 + 3 ms.
  const { n, millisecondsPerStep, operations, layers } = summarise(timings, 2);
  expect({ n, millisecondsPerStep }).toEqual({ n: 2, millisecondsPerStep: 4 });
  const convolution = { calls: 2, forward: 1, backward: 2.5, update: 0, total: 3.5, share: 0.875 };
  const relu = { calls: 1, forward: 0.5, backward: 0, update: 0, total: 0.5, share: 0.125 };
  expect(operations).toEqual([
    { name: 'conv2d', ...convolution },
    { name: 'relu', ...relu },
  ]);
  expect(layers).toEqual([
    { name: 'conv1', ...convolution },
    { name: '(relu)', ...relu },
  ]);
});

it('a trace has complete events in microseconds from 0, operations inside their step', () => {
  const { traceEvents } = chromeTrace(timings, 'resnet8') as { traceEvents: Record<string, unknown>[] };
  const complete = traceEvents.filter(({ ph }) => ph === 'X');
  const track = { ph: 'X', pid: 1, tid: 1 };
  expect(complete.filter(({ cat }) => cat === 'step')).toEqual([
    { name: 'step 1', cat: 'step', ...track, ts: 0, dur: 4000, args: {} },
    { name: 'step 2', cat: 'step', ...track, ts: 10_000, dur: 5000, args: {} },
  ]);
  expect(complete.find(({ cat, ts }) => cat === 'backward' && ts === 12_000)).toEqual({
    ...{ name: 'conv1', cat: 'backward', ...track, ts: 12_000, dur: 3000 },
    args: { op: 'conv2d', phase: 'backward', layer: 'conv1' },
  });
  expect(traceEvents.filter(({ ph }) => ph === 'M').map(({ args }) => args)).toEqual([
    { name: 'gradamp' },
    { name: 'resnet8' },
  ]);
});

it('a profiled step has every node of the graph once each way, one after the other, and the update', async () => {
  const options = { model: 'resnet8', width: 0.125, batch: 4, workers: 2, device: 'cpu', set: [] } as const;
  const config = measuredConfig({ ...options, engine: 'tfjs', backend: 'wasm' });
  const { profile, timings } = await profileSteps(config, 2);
  // Of the batch of 4 the first of two workers takes 2.
  expect(profile).toMatchObject({ images: 2, n: 2 });
  const calls = Object.fromEntries(profile.operations.map(({ name, calls }) => [name, calls]));
  // resnet8: a stem, three blocks of two convolutions, two projections; 7 ReLUs, 3 additions.
  expect(calls).toEqual({
    ...{ conv2d: 18, batchNorm: 18, relu: 14, add: 6, averagePool: 2, flatten: 2, linear: 2 },
    ...{ softmaxCrossEntropy: 1, assemble: 1, weights: 1, update: 1 },
  });
  expect(profile.layers.filter(({ name }) => !name.startsWith('('))).toHaveLength(19);
  const shares = profile.operations.reduce((sum, { share }) => sum + share, 0);
  expect(shares).toBeCloseTo(1, 10);
  for (const [i, { start }] of timings.entries()) {
    if (i > 0) expect(start).toBeGreaterThanOrEqual(timings[i - 1].start + timings[i - 1].duration);
  }
});

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly args: Record<string, string>;
}

it('the trace of a real step is what the trace event format asks for, and nests in whole nanoseconds', async () => {
  const options = { model: 'resnet8', width: 0.125, batch: 4, workers: 1, device: 'cpu', set: [] } as const;
  const config = measuredConfig({ ...options, engine: 'auto', backend: 'wasm' });
  const { timings } = await profileSteps(config, 3);
  const trace: { traceEvents: TraceEvent[] } = JSON.parse(JSON.stringify(chromeTrace(timings, 'title')));
  const [metadata, complete] = ['M', 'X'].map((kind) => trace.traceEvents.filter(({ ph }) => ph === kind));
  expect(metadata.length + complete.length).toBe(trace.traceEvents.length);
  expect(complete).toHaveLength(timings.length + 3);
  const named = metadata.map(({ name, pid, tid, args }) => [name, pid, tid, args.name]);
  expect(named).toEqual([
    ['process_name', 1, 1, 'gradamp'],
    ['thread_name', 1, 1, 'title'],
  ]);
  const open: { name: string; end: number }[] = [];
  // Stable: of events that start at the same time the first in the file is around the others, as for Perfetto.
  for (const { name, pid, tid, ts, dur } of complete.toSorted((a, b) => a.ts - b.ts)) {
    expect(name).toMatch(/./);
    expect([pid, tid]).toEqual([1, 1]);
    const [start, length] = [ts, dur].map((time) => Math.round(1000 * time));
    expect([start, length].map((time) => time / 1000)).toEqual([ts, dur]);
    expect(Math.min(start, length)).toBeGreaterThanOrEqual(0);
    while (open.length > 0 && open[open.length - 1].end <= start) open.pop();
    for (const around of open) expect(start + length).toBeLessThanOrEqual(around.end);
    open.push({ name, end: start + length });
    expect(open.length).toBeLessThanOrEqual(2);
  }
});
