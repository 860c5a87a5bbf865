// Starts four workers with a replica each, lets them compute, and ends them: by request, or in the middle of a call. As
// often as the argument says; prints what became of each round as JSON. Runs the compiled code in dist/.

import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const dist = (path) => new URL(`../../../dist/src/${path}`, import.meta.url).href;
const WORKERS = 4;
const SAMPLES = 32;

if (isMainThread) {
  const rounds = [];
  for (let round = 0; round < Number(process.argv[2]); round++) {
    const workers = Array.from({ length: WORKERS }, () => new Worker(new URL(import.meta.url)));
    const exits = workers.map((worker) => once(worker, 'exit'));
    // Each has computed something, and is about to compute more.
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    if (round % 2 === 0) for (const worker of workers) worker.postMessage('close');
    else await Promise.all(workers.map((worker) => worker.terminate()));
    const codes = (await Promise.all(exits)).map(([code]) => code);
    const expected = round % 2 === 0 ? 0 : 1;
    const ended = codes.every((code) => code === expected)
      ? ['closed', 'terminated'][expected]
      : String(codes);
    rounds.push({ ended, rss: process.memoryUsage.rss() });
  }
  console.log(JSON.stringify(rounds));
} else {
  const [{ createEngine }, { buildModel }, { initialParameters, initialStatistics }] = await Promise.all(
    ['engines/index.js', 'models/index.js', 'models/initialise.js'].map((path) => import(dist(path))),
  );
  const engine = await createEngine({ engine: 'torch', backend: 'wasm', device: 'cpu', threads: 1 });
  const graph = buildModel({ name: 'resnet8', width: 1, classes: 10 });
  const replica = engine.createReplica({
    graph,
    normalisation: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
    parameters: initialParameters(graph, 0),
    gradient: new Float32Array(graph.parameterLength),
    statistics: initialStatistics(graph),
  });
  const images = Uint8Array.from({ length: SAMPLES * 3072 }, (_, i) => (i * 7919) % 256);
  const labels = Uint8Array.from({ length: SAMPLES }, (_, i) => i % 10);
  const split = { name: 'train', size: SAMPLES, images, labels };
  const batch = { split, indices: Uint32Array.from({ length: SAMPLES }, (_, i) => i) };
  let open = true;
  parentPort.once('message', () => {
    open = false;
    replica.dispose();
  });
  while (open) {
    replica.gradient([batch], SAMPLES);
    parentPort.postMessage('computed');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
