import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { watch } from '../../src/parallel/watch.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('says so once, when nothing has moved for the timeout', () => {
  const hung = vi.fn();
  let signs = 0;
  watch(() => signs, 10, hung);
  for (let i = 0; i < 5; i++) {
    vi.advanceTimersByTime(9000);
    signs++;
  }
  expect(hung).not.toHaveBeenCalled();
  // The last sign is seen a second later.
  vi.advanceTimersByTime(10_000);
  expect(hung).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1000);
  expect(hung).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(60_000);
  expect(hung).toHaveBeenCalledTimes(1);
});

it('looks four times in a timeout that is short', () => {
  const hung = vi.fn();
  watch(() => 0, 1, hung);
  vi.advanceTimersByTime(990);
  expect(hung).not.toHaveBeenCalled();
  vi.advanceTimersByTime(10);
  expect(hung).toHaveBeenCalledTimes(1);
});

it('says nothing when it was ended', () => {
  const hung = vi.fn();
  const end = watch(() => 0, 10, hung);
  vi.advanceTimersByTime(9000);
  end();
  vi.advanceTimersByTime(60_000);
  expect(hung).not.toHaveBeenCalled();
});

it('does not count the time for which the whole process was held up', () => {
  const hung = vi.fn();
  const now = vi.spyOn(performance, 'now');
  watch(() => 0, 10, hung);
  // An hour passes between two looks, as of a process that was stopped.
  now.mockReturnValue(3_600_000);
  vi.advanceTimersByTime(1000);
  now.mockRestore();
  expect(hung).not.toHaveBeenCalled();
});
