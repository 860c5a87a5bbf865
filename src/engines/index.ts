// The engines by name: what a config may ask for, and how to get one.

import { availableParallelism } from 'node:os';
import { isMainThread } from 'node:worker_threads';
import type { Precision } from '../config/schema.ts';
import { UsageError } from '../errors.ts';
import type { Engine } from './engine.ts';
import type { BackendName } from './tfjs/backend.ts';
import { DeviceReplica, type DeviceSettings, HostedReplica } from './torch/device-replica.ts';
import { checkNativeDevices, deviceIndex } from './torch/devices.ts';
import { describeProblem, inspectNative, isBuilt, loadAddon, nativeDevices } from './torch/load.ts';
import { TorchReplica } from './torch/replica.ts';
import { prepareThreads } from './torch/threads.ts';

export type EngineName = 'auto' | 'tfjs' | 'torch';

/** What a config says of where and with what it runs. */
export interface EngineSettings {
  readonly engine: EngineName;
  /** Of the engine tfjs. */
  readonly backend: BackendName;
  /** One worker each: `cpu` or `cuda:N`. */
  readonly devices: readonly string[];
  /** Of the engine torch, on cpu: threads of one worker's operations. */
  readonly threads?: number;
  /** Of the engine torch, on GPUs; float32 by default. */
  readonly precision?: Precision;
  /** On GPUs: whether steps are recorded as CUDA graphs; `auto` by default. */
  readonly cudaGraph?: DeviceSettings['cudaGraph'];
  /**
   * Refuses what cannot promise that the same calls give the same bits again, on the same machine, devices and threads;
   * false by default. torch on cpu and the backends wasm and cpu promise it always: sums are made in a fixed order. On
   * GPUs torch then takes deterministic algorithms alone.
   */
  readonly deterministic?: boolean;
}

/** The engine of a run, and what is worth a warning before it starts. */
export interface EngineChoice {
  readonly engine: Engine['name'];
  readonly warnings: readonly string[];
}

/** Bytes that a wasm heap can grow to: 65,535 pages of 64 KiB. */
const WASM_MEMORY_LIMIT = 4_294_901_760;

/** What a worker thread can hold at most, in bytes; undefined: what the device has. */
export function engineMemoryLimit({
  engine,
  backend,
}: Pick<EngineSettings, 'engine' | 'backend'>): number | undefined {
  return engine !== 'torch' && backend === 'wasm' ? WASM_MEMORY_LIMIT : undefined;
}

/**
 * The engine that runs: the one that is named; of `auto`, torch where its addon loads and the backend is the default
 * one, else tfjs, but never in place of torch where GPUs are asked for. Whether an addon loads is found out in a process
 * of its own, once for each build of it.
 *
 * @throws UsageError, one line with the key and the remedy, where it cannot run on these devices.
 */
export function chooseEngine(settings: EngineSettings): EngineChoice {
  const { engine, backend, devices } = settings;
  const torchFits = engine === 'torch' || (engine === 'auto' && backend === 'wasm');
  const inspection = torchFits ? inspectNative() : undefined;
  if (inspection?.info) {
    checkNativeDevices(settings, inspection, nativeDevices);
    const warning = prepareThreads(settings);
    return { engine: 'torch', warnings: warning ? [warning] : [] };
  }
  if (inspection && devices.some((device) => device !== 'cpu')) {
    throw new UsageError(describeProblem(inspection.problem, 'use devices: [cpu]'));
  }
  if (engine === 'torch' && inspection) throw new UsageError(describeProblem(inspection.problem));
  checkTfjs(settings);
  // Somebody built it, and will wonder.
  const warnings =
    inspection && isBuilt() ? [`tfjs takes its place: ${describeProblem(inspection.problem)}`] : [];
  return { engine: 'tfjs', warnings };
}

/** Checks what can be checked without loading anything. */
function checkTfjs({ backend, devices, deterministic = false }: EngineSettings): void {
  if (deterministic && backend === 'tensorflow') {
    throw new UsageError(
      'deterministic: backend tensorflow cannot promise the same bits twice, since its threads add up in any order; use backend: wasm or cpu, or deterministic: false',
    );
  }
  const cuda = devices.find((device) => device !== 'cpu');
  if (cuda === undefined && backend !== 'tensorflow') return;
  if (backend !== 'tensorflow') {
    throw new UsageError(
      `devices: backend ${backend} of engine tfjs runs on cpu only, got ${cuda}; use devices: [cpu], or backend: tensorflow ` +
        'for one GPU',
    );
  }
  if (devices.length > 1) {
    throw new UsageError(
      `devices: backend tensorflow takes one device a process, got ${devices.length}; use one device, or backend: wasm ` +
        'with several cpu',
    );
  }
  // The binding takes the last GPU that the process sees, whatever is asked for.
  const index = cuda?.slice('cuda:'.length);
  if (cuda !== undefined && process.env.CUDA_VISIBLE_DEVICES !== index) {
    throw new UsageError(
      `devices: backend tensorflow cannot choose a GPU; start gradamp with CUDA_VISIBLE_DEVICES=${index} for ${cuda}`,
    );
  }
}

/**
 * Loads an engine on this thread.
 *
 * @param settings with one device; without `threads`, all processors.
 * @throws UsageError as chooseEngine, or where an optional package is not installed.
 */
export async function createEngine({
  device,
  ...settings
}: Omit<EngineSettings, 'devices'> & { readonly device: string }): Promise<Engine> {
  // On a worker thread the engine is named, and whoever started it has checked.
  const engine =
    settings.engine === 'torch' && !isMainThread
      ? 'torch'
      : chooseEngine({ ...settings, devices: [device] }).engine;
  if (engine === 'torch') {
    return device === 'cpu' ? createTorchEngine(settings.threads) : createCudaEngine(device, settings);
  }
  const { createTfjsEngine } = await import('./tfjs/engine.ts');
  return createTfjsEngine(settings.backend, device);
}

function createTorchEngine(threads = availableParallelism()): Engine {
  const addon = loadAddon();
  addon.setThreads(threads);
  const { libtorch, instructionSet } = addon.build;
  return {
    name: 'torch',
    description: `libtorch ${libtorch}, ${instructionSet}, ${threads} ${threads === 1 ? 'thread' : 'threads'} a worker`,
    updateKernels: addon,
    createReplica: (options) => new TorchReplica(addon, { ...options, device: 'cpu' }),
  };
}

/** @throws UsageError where the addon was built without CUDA, or sees no such device. */
function createCudaEngine(
  device: string,
  {
    precision = 'float32',
    cudaGraph = 'auto',
    deterministic = false,
  }: Pick<EngineSettings, 'precision' | 'cudaGraph' | 'deterministic'>,
): Engine {
  const addon = loadAddon();
  // The host's part is small, and the machine may have more GPUs than it has processors to spare.
  addon.setThreads(1);
  const { configureCuda, cudaDevices, deviceMemory, makeGroupId, build } = addon;
  const index = deviceIndex(device);
  const gpu = cudaDevices?.()[index];
  if (!gpu || !configureCuda || !deviceMemory) {
    throw new UsageError(`devices: expected a GPU that CUDA sees, got ${device}; use devices: [cpu]`);
  }
  configureCuda({ tf32: precision === 'tf32', deterministic });
  const settings = { device, precision, cudaGraph };
  return {
    name: 'torch',
    description: `libtorch ${build.libtorch}, CUDA ${build.cuda}, ${gpu.name}, ${precision}`,
    updateKernels: addon,
    createReplica: (options) => new HostedReplica(addon, options, settings),
    createResidentReplica: (options) => new DeviceReplica(addon, options, settings),
    makeGroupId,
    deviceMemory: () => deviceMemory(index),
  };
}
