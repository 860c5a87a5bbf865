// What becomes of a process whose worker threads are ended while the native code computes.

import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { isBuilt } from '../../../src/engines/torch/load.ts';

const compiled = (path: string) => JSON.stringify(new URL(`../../../dist/src/${path}`, import.meta.url).href);

/** Of a worker thread: says that it starts, then computes for ever. */
const WORKER = `
  (async () => {
    const { parentPort } = await import('node:worker_threads');
    const { createEngine } = await import(${compiled('engines/index.js')});
    const { buildModel } = await import(${compiled('models/index.js')});
    const graph = buildModel({ name: 'resnet8', width: 1, classes: 10 });
    const vector = (length) => new Float32Array(new SharedArrayBuffer(4 * length));
    const engine = await createEngine({ engine: 'torch', backend: 'wasm', device: 'cpu', threads: 1 });
    const replica = engine.createReplica({
      graph,
      normalisation: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
      parameters: vector(graph.parameterLength).fill(0.01),
      gradient: vector(graph.parameterLength),
      statistics: vector(graph.statisticsLength).fill(1),
    });
    const split = { images: new Uint8Array(64 * 3072), labels: new Uint8Array(64) };
    const batch = { split, indices: Uint32Array.from(split.labels.keys()) };
    parentPort.postMessage(0);
    for (;;) replica.gradient([batch], 64);
  })();
`;

const PROGRAM = `
  import { Worker } from 'node:worker_threads';
  for (let round = 0; round < 3; round++) {
    const workers = [0, 1].map(() => new Worker(${JSON.stringify(WORKER)}, { eval: true }));
    await Promise.all(workers.map((worker) => new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    })));
    await new Promise((resolve) => setTimeout(resolve, 50 + 7 * round));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  console.log('alive');
`;

describe.skipIf(!isBuilt())('worker threads that are terminated in the middle of a step', () => {
  test('leave the process alive, and others can take their place', () => {
    const command = ['--input-type=module', '-e', PROGRAM];
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
    expect({ status, signal, stdout, stderr }).toEqual({
      ...{ status: 0, signal: null },
      ...{ stdout: 'alive\n', stderr: '' },
    });
  });
});
