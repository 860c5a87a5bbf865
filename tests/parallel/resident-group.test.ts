// The order in which the workers of a group go about their steps on devices, on threads.

import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { WorkerGroup } from '../../src/parallel/worker-group.ts';
import { brightnessDataset, groupSetups, testConfig } from './fixtures.ts';

/** Three steps an epoch, the last one short. */
const BATCH = { batchSize: 8, microBatch: 5 };
const dataset = brightnessDataset({ train: 8 * 2 + 4, test: 10 });
const plain = { epoch: 1, learningRate: 0.1, factors: new Map(), analysed: false };

describe('a group of three workers', () => {
  const EVENTS = ['id', 'joining', 'joined', 'recorded', 'replayed', 'abandoned', 'disposed'] as const;

  /** A worker group on fake devices, and what they have noted: events with ranks, in their order. */
  function startGroup(dies: boolean) {
    const config = { ...testConfig(BATCH), devices: ['cuda:0', 'cuda:1', 'cuda:2'] };
    const log = new Int32Array(new SharedArrayBuffer(4 * 100));
    const setups = groupSetups(config, dataset).setups.map((setup) => ({ ...setup, log, dies }));
    const workers = new WorkerGroup(
      setups,
      fileURLToPath(new URL('./fake-group-worker.mjs', import.meta.url)),
    );
    const noted = () =>
      Array.from(log.subarray(1, 1 + log[0]), (code) => ({
        event: EVENTS[code % EVENTS.length],
        rank: Math.floor(code / EVENTS.length),
      }));
    return { workers, noted };
  }

  it('is made by rank 0, and none steps before all have joined, or replays before all have recorded', async () => {
    const { workers, noted } = startGroup(false);
    await workers.all((worker) => worker.start());
    for (const epoch of [1, 2]) await workers.all((worker) => worker.train({ ...plain, epoch }));
    await workers.close();
    const three = (event: string) => Array(3).fill(event);
    const log = noted();
    // Joining may mix with joined.
    expect(log[0]).toEqual({ event: 'id', rank: 0 });
    expect(log.slice(1, 7).filter(({ event }) => event === 'joining')).toHaveLength(3);
    expect(log.slice(1, 7).filter(({ event }) => event === 'joined')).toHaveLength(3);
    expect(log.slice(7).map(({ event }) => event)).toEqual(
      ['recorded', 'replayed', 'disposed'].flatMap((event) => three(event)),
    );
    for (const event of EVENTS.slice(1, 5)) {
      const ranks = log.filter((entry) => entry.event === event).map(({ rank }) => rank);
      expect(ranks.sort(), event).toEqual([0, 1, 2]);
    }
  });

  it('is left by all when one fails: they wait for no collective that it never comes to', async () => {
    const { workers, noted } = startGroup(true);
    await workers.all((worker) => worker.start());
    await expect(workers.all((worker) => worker.train(plain))).rejects.toThrow(
      'worker 1 (cuda:1) failed in step 1 of epoch 1: out of something',
    );
    await workers.close();
    for (const rank of [0, 1, 2]) {
      const events = noted().filter((entry) => entry.rank === rank);
      expect(
        events.slice(-2).map(({ event }) => event),
        `rank ${rank}`,
      ).toEqual(['abandoned', 'disposed']);
    }
  });
});
