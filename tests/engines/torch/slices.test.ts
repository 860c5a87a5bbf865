// In which slices gradients are reduced: what a slice holds is complete when it is sent, and all of them are the vector.

import { describe, expect, it } from 'vitest';
import { type Plan, planOf } from '../../../src/engines/torch/plan.ts';
import { SLICE_SIZES, type Slice, slicesOf } from '../../../src/engines/torch/slices.ts';
import { SEGMENT_ALIGNMENT } from '../../../src/models/graph.ts';
import { buildModel } from '../../../src/models/index.ts';

const MEBIBYTES = 2 ** 20 / 4;
const tensorsOf = ({ steps }: Pick<Plan, 'steps'>) =>
  steps.flatMap(({ weight, bias }, position) =>
    [weight, bias].flatMap((tensor) => (tensor ? [{ ...tensor, position }] : [])),
  );

/** Runs a backward sweep that notes what is complete, and looks at each slice when it is sent. */
function check(plan: Pick<Plan, 'steps'>, length: number, slices: readonly Slice[]): void {
  const complete = new Set<number>();
  let end = length;
  let sent = 0;
  for (let position = plan.steps.length - 1; position >= 0; position--) {
    for (const tensor of tensorsOf(plan)) if (tensor.position === position) complete.add(tensor.offset);
    for (; slices[sent]?.step === position; sent++) {
      const slice = slices[sent];
      expect(slice.end).toBe(end);
      expect(slice.start).toBeLessThan(end);
      for (const { name, offset, size } of tensorsOf(plan)) {
        if (offset + size > slice.start && offset < slice.end) {
          expect(complete.has(offset), `${name} in the slice behind step ${position}`).toBe(true);
          expect(offset, `${name} is whole`).toBeGreaterThanOrEqual(slice.start);
        }
      }
      end = slice.start;
    }
  }
  expect(sent).toBe(slices.length);
  expect(end).toBe(0);
}

/** A plan of steps of one tensor each, 16 numbers long; by position, where the tensor lies, and none for undefined. */
function planWith(places: readonly (number | undefined)[]): { plan: Pick<Plan, 'steps'>; length: number } {
  const steps = places.map((place, position) => ({
    ...{
      op: 'linear',
      name: `step${position}`,
      output: position + 1,
      inputs: [position],
      readByBackward: [],
    },
    ...{ shape: [1], layer: -1 },
    ...(place !== undefined && {
      weight: { name: `tensor${place}`, role: 'weight', shape: [16], size: 16, offset: 16 * place },
    }),
  })) as unknown as Plan['steps'];
  return { plan: { steps }, length: 16 * places.filter((place) => place !== undefined).length };
}

describe('of the models', () => {
  it.each([
    ['resnet18', 6],
    ['resnet50', 11],
    ['resnet101', 20],
    ['vgg19', 10],
    ['resnet8', 1],
  ] as const)('%s has %d', (name, count) => {
    const graph = buildModel({ name, width: 1, classes: 10 });
    for (const fuse of [true, false]) {
      const plan = planOf(graph, { fuse });
      const slices = slicesOf(plan, graph.parameterLength);
      check(plan, graph.parameterLength, slices);
      expect(slices.length).toBe(count);
      const sizes = slices.map(({ start, end }) => end - start);
      expect(sizes[0]).toBeGreaterThanOrEqual(count > 1 ? SLICE_SIZES.small : 1);
      for (const size of sizes.slice(1, -2)) expect(size).toBeGreaterThanOrEqual(SLICE_SIZES.large);
      for (const { start } of slices) expect(start % SEGMENT_ALIGNMENT).toBe(0);
      expect(sizes[count - 1]).toBeLessThanOrEqual(count > 1 ? SLICE_SIZES.small : graph.parameterLength);
      // Most of the sweep is still to come when the first is sent.
      if (count > 1) expect(slices[0].step / plan.steps.length).toBeGreaterThan(0.8);
    }
  });

  it('are whole layers of resnet18, the last stage first', () => {
    const graph = buildModel({ name: 'resnet18', width: 1, classes: 10 });
    const plan = planOf(graph, { fuse: true });
    const slices = slicesOf(plan, graph.parameterLength);
    expect(slices.map(({ step }) => plan.steps[step].name)).toMatchInlineSnapshot(`
      [
        "layer4.1.conv2",
        "layer4.1.conv1",
        "layer4.0.conv2",
        "layer3.1.conv1",
        "layer2.0.conv2",
        "conv1",
      ]
    `);
    expect(
      slices.map(({ start, end }) => Math.round((10 * (end - start)) / MEBIBYTES) / 10),
    ).toMatchInlineSnapshot(`
      [
        9,
        9,
        9.5,
        9,
        5.2,
        0.9,
      ]
    `);
  });
});

describe('a slice', () => {
  const one = { small: 1, large: 1 };
  it('is sent behind each step where steps run as their tensors lie, and small ones are sent', () => {
    const { plan, length } = planWith([0, undefined, 1, 2, undefined]);
    expect(slicesOf(plan, length, one)).toEqual([
      { step: 3, start: 32, end: 48 },
      { step: 2, start: 16, end: 32 },
      { step: 0, start: 0, end: 16 },
    ]);
  });

  it('waits for the step that runs later though its tensor lies further behind', () => {
    // A shortcut's, which runs before the block's last batch norm, but lies behind it.
    const { plan, length } = planWith([0, 2, 1, undefined]);
    expect(slicesOf(plan, length, one)).toEqual([
      { step: 1, start: 16, end: 48 },
      { step: 0, start: 0, end: 16 },
    ]);
  });

  it('has what is complete by then though it would be enough without', () => {
    const { plan, length } = planWith([2, 0, 1]);
    expect(slicesOf(plan, length, one)).toEqual([{ step: 0, start: 0, end: 48 }]);
  });

  it('is as large as was asked for, and the last is small', () => {
    const { plan, length } = planWith([0, 1, 2, 3, 4, 5]);
    expect(slicesOf(plan, length, { small: 16, large: 32 })).toEqual([
      { step: 5, start: 80, end: 96 },
      { step: 3, start: 48, end: 80 },
      { step: 1, start: 16, end: 48 },
      { step: 0, start: 0, end: 16 },
    ]);
  });

  it('has the padding behind its last tensor, and that behind all of them', () => {
    const { plan } = planWith([0, 1]);
    expect(slicesOf(plan, 48, one)).toEqual([
      { step: 1, start: 16, end: 48 },
      { step: 0, start: 0, end: 16 },
    ]);
  });

  it('is complete when it is sent, in whatever order steps run: seeds 1 to 200', () => {
    for (let seed = 1; seed <= 200; seed++) {
      let state = seed;
      const random = () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32;
      };
      const count = 1 + Math.floor(12 * random());
      const places: (number | undefined)[] = Array.from({ length: count }, (_, place) => place);
      for (let i = count - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [places[i], places[j]] = [places[j], places[i]];
      }
      for (let i = 0; i < 4; i++) places.splice(Math.floor(random() * places.length), 0, undefined);
      const { plan, length } = planWith(places);
      const sizes = { small: 1 + Math.floor(32 * random()), large: 1 + Math.floor(64 * random()) };
      check(plan, length, slicesOf(plan, length, sizes));
    }
  });
});
