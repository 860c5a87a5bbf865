import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Control, createControlBuffers } from '../../src/parallel/control.ts';

const CONTROL_MODULE = new URL('../../dist/src/parallel/control.js', import.meta.url).href;

/** Runs `body` (with `control`, `rank`, `shared`) on a thread of its own; resolves with what it returns. */
function onThread(body: string, data: object): Promise<unknown> {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(${JSON.stringify(CONTROL_MODULE)}).then(({ Control }) => {
      const { rank, shared, buffers } = workerData;
      const control = new Control(buffers, rank);
      parentPort.postMessage((() => { ${body} })());
    });`;
  return new Promise((resolve, reject) => {
    const worker = new Worker(source, { eval: true, workerData: data });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

describe('barrier', () => {
  it('lets nobody pass before all have arrived, 3000 times in a row on 4 threads', async () => {
    const worldSize = 4;
    const buffers = createControlBuffers(worldSize);
    const shared = new Int32Array(new SharedArrayBuffer(4 * worldSize));
    const body = `
      let early = 0;
      for (let round = 1; round <= 3000; round++) {
        shared[rank] = round;
        control.barrier();
        for (const other of shared) if (other < round || other > round) early++;
        control.barrier();
      }
      return early;`;
    const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
    const early = await Promise.all(ranks.map((rank) => onThread(body, { rank, shared, buffers })));
    expect(early).toEqual([0, 0, 0, 0]);
    expect([...shared]).toEqual([3000, 3000, 3000, 3000]);
  });

  it('ends the wait of everybody when the run is aborted', async () => {
    const buffers = createControlBuffers(3);
    const body = `try { control.barrier(); return 'passed'; } catch (error) { return error.name; }`;
    const waiting = [0, 1].map((rank) => onThread(body, { rank, buffers }));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const started = performance.now();
    const control = new Control(buffers);
    expect(control.aborted).toBe(false);
    control.abort();
    expect(control.aborted).toBe(true);
    expect(await Promise.all(waiting)).toEqual(['AbortedError', 'AbortedError']);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

describe('whereabouts', () => {
  it('are told by place, epoch and step, which stay until others are told', () => {
    const buffers = createControlBuffers(3);
    const control = new Control(buffers, 1);
    const unheard = { place: 'starting', epoch: 0, step: 0, waiting: false };
    expect(control.whereabouts.sightings).toEqual([unheard, unheard, unheard]);
    control.enter('computing', { epoch: 2, step: 7 });
    control.enter('before the update');
    const told = { place: 'before the update', epoch: 2, step: 7, waiting: false };
    expect(new Control(buffers).whereabouts.sightings).toEqual([unheard, told, unheard]);
  });

  it('say who waits at a barrier, until it opens', async () => {
    const buffers = createControlBuffers(2);
    const { whereabouts } = new Control(buffers);
    const waiting = () => whereabouts.sightings.map((sighting) => sighting.waiting);
    const arrived = onThread('control.barrier(); return 0;', { rank: 0, buffers });
    await expect.poll(waiting).toEqual([true, false]);
    new Control(buffers, 1).barrier();
    await arrived;
    expect(waiting()).toEqual([false, false]);
  });

  it('change with every step and every pass that is reported, of any worker', () => {
    const buffers = createControlBuffers(2);
    const [coordinator, worker] = [new Control(buffers), new Control(buffers, 1)];
    const seen = new Set([coordinator.whereabouts.signs]);
    worker.enter('evaluating');
    seen.add(coordinator.whereabouts.signs);
    worker.report(1, { steps: 0, samples: 5, lossSum: 1, correct: 2 });
    seen.add(coordinator.whereabouts.signs);
    expect(seen.size).toBe(3);
    // The coordinator's own do not count.
    coordinator.enter('idle');
    expect(seen).toContain(coordinator.whereabouts.signs);
  });
});

it('agrees on a stop once rank 0 has seen the request', () => {
  const control = new Control(createControlBuffers(2));
  control.proposePause();
  expect(control.pauseAgreed).toBe(false);
  control.requestStop();
  expect(control.pauseAgreed).toBe(false);
  control.proposePause();
  expect(control.pauseAgreed).toBe(true);
});

it('sees a non-finite gradient of any rank, until that rank clears it', () => {
  const control = new Control(createControlBuffers(3));
  expect(control.anyNonFinite).toBe(false);
  control.setNonFinite(2, true);
  expect(control.anyNonFinite).toBe(true);
  control.setNonFinite(1, false);
  expect(control.anyNonFinite).toBe(true);
  control.setNonFinite(2, false);
  expect(control.anyNonFinite).toBe(false);
});

it('adds up what the workers report', () => {
  const control = new Control(createControlBuffers(2));
  control.report(0, { steps: 3, samples: 30, lossSum: 6, correct: 20 });
  control.report(1, { steps: 2, samples: 20, lossSum: 5, correct: 10 });
  expect(control.progress).toEqual({ steps: 2, samples: 50, lossSum: 11, correct: 30 });
  control.clearProgress();
  expect(control.progress).toEqual({ steps: 0, samples: 0, lossSum: 0, correct: 0 });
});
