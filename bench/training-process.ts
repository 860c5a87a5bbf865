// Ours, as a process that is measured: the worker threads of a training run over images in memory. Called with a
// config and the number of steps in an epoch.

import { select } from '../src/amplification/selection.ts';
import type { Config } from '../src/config/schema.ts';
import type { DeviceMemory } from '../src/engines/engine.ts';
import { candidatesOf } from '../src/models/candidates.ts';
import { createControlBuffers } from '../src/parallel/control.ts';
import { measureCandidates } from '../src/parallel/epoch.ts';
import { averageStatistics, createStore } from '../src/parallel/store.ts';
import { WorkerGroup } from '../src/parallel/worker-group.ts';
import { graphOf } from './measured.ts';
import { serve } from './subject.ts';
import { noiseDataset } from './synthetic-data.ts';
import type { TrainingAnswer, TrainingIntroduction, TrainingRequest } from './training.ts';

const [config, stepsPerEpoch] = process.argv.slice(2).map((text) => JSON.parse(text)) as [Config, number];
const dataset = noiseDataset(stepsPerEpoch * config.batchSize * config.accumulate);
const graph = graphOf(config);
const store = createStore(graph, config);
const control = createControlBuffers(config.devices.length);
const workers = new WorkerGroup(config.devices.map((_, rank) => ({ rank, config, dataset, store, control })));
const [{ learningRate }] = config.schedule;
let [epoch, position] = [1, 0];
/** Since the last answer; undefined where the workers do not tell it. */
let launched: number | undefined = 0;

async function trainSteps(count: number, analysed: boolean): Promise<void> {
  for (let left = count; left > 0; ) {
    const end = Math.min(stepsPerEpoch, position + left);
    const steps = [position, end] as const;
    const order = { epoch, learningRate, factors: new Map(), analysed, steps };
    const sums = await workers.all((worker) => worker.train(order));
    const [{ skipped }] = sums;
    // It would cost less than a step.
    if (skipped > 0) throw new Error(`${skipped} steps were skipped: their gradients are not finite`);
    const times = sums.flatMap(({ launchMilliseconds }) => launchMilliseconds ?? []);
    launched = launched === undefined || times.length === 0 ? undefined : launched + Math.max(...times);
    left -= end - position;
    [epoch, position] = end < stepsPerEpoch ? [epoch, end] : [epoch + 1, 0];
  }
}

/** Workers that share a device share its peak. */
async function devicePeak(): Promise<DeviceMemory | null> {
  const memories = await workers.all((worker) => worker.deviceMemory());
  const byDevice = new Map(config.devices.map((device, rank) => [device, memories[rank]]));
  const told = [...byDevice.values()].flatMap((memory) => memory ?? []);
  if (told.length === 0) return null;
  const sum = (key: keyof DeviceMemory) => told.reduce((sum, memory) => sum + memory[key], 0);
  return { allocatedPeak: sum('allocatedPeak'), reservedPeak: sum('reservedPeak') };
}

/** What ends an analysis epoch. */
async function chooseLayers(): Promise<void> {
  if (config.amplification === 'none') throw new Error('expected a config that amplifies');
  const layers = await measureCandidates(workers, candidatesOf(config, graph));
  const where = { epoch, iterations: stepsPerEpoch, index: 0, factor: 2, seed: config.seeds.selection };
  select(config.amplification, layers, where);
}

await serve(
  async (): Promise<TrainingIntroduction> => {
    const [engine] = await workers.all((worker) => worker.start());
    return { engine };
  },
  async (request: TrainingRequest): Promise<TrainingAnswer> => {
    launched = 0;
    const started = performance.now();
    if (request.kind === 'steps') await trainSteps(request.steps, false);
    else {
      await trainSteps(stepsPerEpoch, request.analysed);
      averageStatistics(store);
    }
    const trained = performance.now();
    if (request.kind === 'epoch' && request.analysed) await chooseLayers();
    const ended = performance.now();
    return {
      milliseconds: ended - started,
      choiceMilliseconds: ended - trained,
      peakBytes: process.resourceUsage().maxRSS * 1024,
      devicePeakBytes: await devicePeak(),
      hostMilliseconds: launched ?? null,
    };
  },
);
