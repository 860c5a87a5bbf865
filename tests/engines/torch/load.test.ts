// The addon that is built here: that it loads on every kind of thread, with the one OpenMP runtime of its libtorch.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { inspectNative, isBuilt, loadAddon } from '../../../src/engines/torch/load.ts';

const LOAD = fileURLToPath(new URL('../../../dist/src/engines/torch/load.js', import.meta.url));

describe.skipIf(!isBuilt())('the native addon', () => {
  test('loads, and says on which libtorch and instruction set it runs', () => {
    const { build, info } = inspectNative();
    expect(loadAddon().build).toEqual(build);
    expect(build?.libtorch).toMatch(/^\d+\.\d+\.\d+$/);
    expect(build?.libtorch).toBe(info?.libtorch.version);
    expect(info?.instructionSets).toContain(build?.instructionSet);
  });

  test('brings one OpenMP runtime', () => {
    loadAddon();
    const files = readFileSync('/proc/self/maps', 'utf8').match(/\S*\/lib(gomp|omp|iomp5)[^\s/]*\.so\S*/g);
    expect(new Set(files).size).toBe(1);
  });

  test('is found from the compiled program, and loads on its worker threads, which do not probe', () => {
    const program = `
      import { Worker } from 'node:worker_threads';
      import { loadAddon } from ${JSON.stringify(LOAD)};
      const source = 'import("node:worker_threads").then(async ({ parentPort }) => parentPort.postMessage((await import(' +
        ${JSON.stringify(JSON.stringify(LOAD))} + ')).loadAddon().build.libtorch))';
      const answers = await Promise.all([1, 2].map(() => new Promise((resolve, reject) => {
        const worker = new Worker(source, { eval: true });
        worker.once('message', resolve);
        worker.once('error', reject);
      })));
      console.log(JSON.stringify([loadAddon().build.libtorch, ...answers]));
    `;
    const command = ['--input-type=module', '-e', program];
    const { stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
    expect(stderr).toBe('');
    const version = inspectNative().build?.libtorch;
    expect(JSON.parse(stdout)).toEqual([version, version, version]);
  });

  test('keeps a number of threads for each thread that sets one', () => {
    const program = `
      import { Worker } from 'node:worker_threads';
      import { loadAddon } from ${JSON.stringify(LOAD)};
      const source = 'import("node:worker_threads").then(async ({ parentPort, workerData }) => {' +
        'const addon = (await import(' + ${JSON.stringify(JSON.stringify(LOAD))} + ')).loadAddon();' +
        'addon.setThreads(workerData); parentPort.postMessage(0);' +
        'parentPort.once("message", () => parentPort.postMessage(addon.threads())); })';
      const addon = loadAddon();
      addon.setThreads(4);
      const workers = [1, 2, 3].map((workerData) => new Worker(source, { eval: true, workerData }));
      const answer = (worker) => new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      await Promise.all(workers.map(answer));
      // All have set theirs.
      const counts = await Promise.all(workers.map((worker) => { worker.postMessage(0); return answer(worker); }));
      console.log(JSON.stringify([...counts, addon.threads()]));
    `;
    const command = ['--input-type=module', '-e', program];
    const { stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual([1, 2, 3, 4]);
  });
});
