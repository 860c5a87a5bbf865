// When steps are recorded as CUDA graphs, with a device that only notes how it was called.

import { describe, expect, it } from 'vitest';
import type { StepMode } from '../../../src/engines/torch/addon.ts';
import { CapturePolicy } from '../../../src/engines/torch/capture.ts';

/** Takes steps of these forms; the modes in which they ran. */
function modes(policy: CapturePolicy, forms: readonly string[], fails = (_: string) => false): StepMode[] {
  const ran: StepMode[] = [];
  for (const form of forms) {
    const mode = policy.modeOf(form, () => {
      ran.push('capture');
      if (fails(form)) throw new Error('operation not permitted\nin a capture');
    });
    ran.push(mode);
  }
  return ran;
}

const repeat = (form: string, count: number): string[] => Array(count).fill(form);

describe('a capture policy', () => {
  it('records the third step of a form, and replays it from then on', () => {
    expect(modes(new CapturePolicy('auto'), repeat('128', 5))).toEqual([
      ...['eager', 'eager', 'capture', 'replay'],
      ...['replay', 'replay'],
    ]);
  });

  it('counts forms apart: the short batch at the end of each epoch has a graph of its own', () => {
    const policy = new CapturePolicy('on');
    const epoch = [...repeat('128', 3), '80'];
    expect(modes(policy, epoch)).toEqual(['eager', 'eager', 'capture', 'replay', 'eager']);
    expect(modes(policy, epoch)).toEqual(['replay', 'replay', 'replay', 'eager']);
    expect(modes(policy, epoch)).toEqual(['replay', 'replay', 'replay', 'capture', 'replay']);
    expect(modes(policy, epoch)).toEqual(['replay', 'replay', 'replay', 'replay']);
  });

  it('records nothing where it is off', () => {
    expect(modes(new CapturePolicy('off'), repeat('128', 4))).toEqual(repeat('eager', 4));
  });

  it('begins again when what was recorded has become wrong', () => {
    const policy = new CapturePolicy('auto');
    modes(policy, repeat('128', 4));
    policy.forget();
    expect(modes(policy, repeat('128', 4))).toEqual(['eager', 'eager', 'capture', 'replay', 'replay']);
  });

  it('takes the step without a graph where it cannot be recorded, tries no other, and says why', () => {
    const policy = new CapturePolicy('auto');
    const fails = () => true;
    expect(modes(policy, [...repeat('128', 4), ...repeat('80', 3)], fails)).toEqual([
      ...['eager', 'eager', 'capture', 'eager'],
      ...repeat('eager', 4),
    ]);
    expect(policy.failure).toBe('operation not permitted');
  });

  it('keeps the graphs that there are where a later one fails', () => {
    const policy = new CapturePolicy('auto');
    modes(policy, repeat('128', 3));
    expect(modes(policy, [...repeat('80', 3), '128'], () => true)).toEqual([
      'eager',
      'eager',
      'capture',
      'eager',
      'replay',
    ]);
  });

  it('lets others record before the first replay', () => {
    const policy = new CapturePolicy('on');
    const calls: string[] = [];
    for (let i = 0; i < 4; i++) {
      const mode = policy.modeOf(
        '128',
        () => calls.push('capture'),
        () => calls.push('recorded'),
      );
      calls.push(mode);
    }
    expect(calls).toEqual(['eager', 'eager', 'capture', 'recorded', 'replay', 'replay']);
  });

  it('fails where it must record and cannot', () => {
    const policy = new CapturePolicy('on');
    expect(() => modes(policy, repeat('128', 3), () => true)).toThrow(
      'cudaGraph: on, but a step could not be recorded as a CUDA graph: operation not permitted',
    );
  });

  it('records a bounded number of forms', () => {
    const policy = new CapturePolicy('auto');
    const forms = Array.from({ length: 10 }, (_, i) => String(i));
    const ran = forms.flatMap((form) => modes(policy, repeat(form, 4)));
    expect(ran.filter((mode) => mode === 'capture')).toHaveLength(8);
    expect(modes(policy, forms)).toEqual([...repeat('replay', 8), ...repeat('eager', 2)]);
  });

  it('lets others go on at the same steps where recording failed here', () => {
    const waits = (fails: boolean) => {
      const policy = new CapturePolicy('auto');
      const steps: number[] = [];
      for (const [i, form] of ['a', 'a', 'b', 'a', 'b', 'b', 'a', 'b'].entries()) {
        const record = () => {
          if (fails) throw new Error('out of memory');
        };
        policy.modeOf(form, record, () => steps.push(i));
      }
      return steps;
    };
    expect(waits(false)).toEqual([3, 5]);
    expect(waits(true)).toEqual(waits(false));
  });
});
