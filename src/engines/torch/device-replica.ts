// Replicas on a GPU: one that keeps all of a run there, and one that computes gradients for weights that lie on the host.

import type { Precision } from '../../config/schema.ts';
import type { Batch } from '../../data/dataset.ts';
import type { LayerFactors } from '../../models/candidates.ts';
import type { Graph } from '../../models/graph.ts';
import { tensorsOf } from '../../training/update.ts';
import {
  checkReplicaOptions,
  type EvaluationResult,
  type PassResult,
  type Replica,
  type ReplicaOptions,
  type ResidentOptions,
  type ResidentReplica,
  type ResidentStep,
  type ResidentVector,
  type StepTotals,
} from '../engine.ts';
import type { NativeAddon, NativeDeviceReplica, NativeDeviceReplicaOptions, StepMode } from './addon.ts';
import { CapturePolicy } from './capture.ts';
import { deviceIndex } from './devices.ts';
import { type Plan, planOf } from './plan.ts';
import { layerFactors, nativeBatch, reportTimings } from './replica.ts';
import { slicesOf } from './slices.ts';

/** What a GPU is asked to be. */
export interface DeviceSettings {
  /** `cuda:N`. */
  readonly device: string;
  readonly precision: Precision;
  readonly cudaGraph: 'auto' | 'on' | 'off';
  /** ATen's operations alone: the oracle of our own kernels. */
  readonly plain?: boolean;
}

/**
 * So much less than what PyTorch keeps, that a graph's gaps between tensors do not make more of it. Each hundredth costs a
 * quarter of a hundredth of what a step reads and writes.
 */
const KEPT_ON_DEVICES = 0.94;

const devicePlan = (graph: Graph, { plain = false }: DeviceSettings): Plan =>
  planOf(graph, { fuse: !plain, kept: KEPT_ON_DEVICES });

function createNative(
  { DeviceReplica }: NativeAddon,
  graph: Graph,
  plan: Plan,
  settings: DeviceSettings,
  options: Omit<
    NativeDeviceReplicaOptions,
    'plan' | 'device' | 'bfloat16' | 'parameters' | 'statistics' | 'tensors' | 'slices' | 'plain'
  >,
): NativeDeviceReplica {
  if (!DeviceReplica) throw new Error(`${settings.device}: expected an addon that was built with CUDA`);
  return new DeviceReplica({
    ...options,
    plan,
    device: deviceIndex(settings.device),
    bfloat16: settings.precision === 'bfloat16',
    parameters: graph.parameterLength,
    statistics: graph.statisticsLength,
    // LARS leaves tensors of one dimension alone.
    tensors: Float64Array.from(
      tensorsOf(graph).flatMap(({ offset, size, shape }) => [offset, size, shape.length > 1 ? 1 : 0]),
    ),
    slices: Float64Array.from(
      slicesOf(plan, graph.parameterLength).flatMap(({ step, start, end }) => [step, start, end]),
    ),
    plain: settings.plain ?? false,
  });
}

/** Weights, gradient and statistics are the host's: they travel with every call. */
export class HostedReplica implements Replica {
  readonly #options: ReplicaOptions;
  readonly #plan: Plan;
  readonly #native: NativeDeviceReplica;

  constructor(addon: NativeAddon, options: ReplicaOptions, settings: DeviceSettings) {
    checkReplicaOptions(options);
    const { graph, normalisation, labelSmoothing = 0, profile, allGather } = options;
    const { parameters: weights, gradient, statistics } = options;
    this.#options = options;
    this.#plan = devicePlan(graph, settings);
    this.#native = createNative(addon, graph, this.#plan, settings, {
      ...{ ...normalisation, labelSmoothing, profiled: profile !== undefined },
      ...{ capacity: 1, accumulates: false, shardStart: 0, shardEnd: 0 },
      ...{ syncBatchNorm: allGather !== undefined, allGather, host: { weights, gradient, statistics } },
    });
  }

  gradient(passes: readonly Batch[], batchSize: number, backpropagated?: LayerFactors): PassResult {
    const { graph, profile } = this.#options;
    const factors = backpropagated && layerFactors(graph, backpropagated);
    const began = 1000 * performance.now();
    const result = this.#native.gradient(passes.map(nativeBatch), batchSize, factors);
    if (profile) reportTimings(profile, this.#native.timings(), { graph, plan: this.#plan, began });
    return result;
  }

  evaluate(batch: Batch): EvaluationResult {
    return this.#native.evaluate(nativeBatch(batch));
  }

  memory(): { tensors: number; bytes: number } {
    return this.#native.memory();
  }

  dispose(): void {
    this.#native.dispose();
  }
}

export class DeviceReplica implements ResidentReplica {
  readonly #graph: Graph;
  readonly #native: NativeDeviceReplica;
  readonly #capture: CapturePolicy;
  #backpropagated: Float64Array | undefined;
  /** Of the replicas of its group, where there is one. */
  #barrier: (() => void) | undefined;
  /** Forms of steps that all have rehearsed, or will replay, since memory was last given back. */
  readonly #rehearsed = new Set<string>();

  constructor(addon: NativeAddon, options: ResidentOptions, settings: DeviceSettings) {
    const { graph, normalisation, labelSmoothing, syncBatchNorm, capacity, shard, lars } = options;
    const { momentum, nesterov, weightDecay, measureWeightDecay, clipNorm } = options;
    this.#graph = graph;
    this.#capture = new CapturePolicy(settings.cudaGraph);
    this.#native = createNative(addon, graph, devicePlan(graph, settings), settings, {
      ...{ ...normalisation, labelSmoothing, profiled: false, syncBatchNorm, capacity },
      ...{ accumulates: shard !== undefined, shardStart: shard?.[0] ?? 0, shardEnd: shard?.[1] ?? 0 },
      update: { momentum, nesterov, weightDecay, measureWeightDecay, clipNorm, ...lars },
    });
  }

  get warning(): string | undefined {
    const { failure } = this.#capture;
    return failure && `steps could not be recorded as a CUDA graph and run without: ${failure}`;
  }

  upload(vector: ResidentVector, values: Float32Array): void {
    this.#native.upload(vector, values);
  }

  download(vector: ResidentVector | 'gradient', values: Float32Array): void {
    this.#native.download(vector, values);
  }

  join(id: Uint8Array, rank: number, worldSize: number, barrier: () => void): void {
    this.#barrier = barrier;
    this.#native.join(id, rank, worldSize);
  }

  abandon(): void {
    this.#native.abandon();
  }

  begin(
    factors: readonly { readonly gradient: number; readonly rate: number }[],
    backpropagated?: LayerFactors,
    totals?: StepTotals,
  ): void {
    const byLayer = backpropagated?.size ? layerFactors(this.#graph, backpropagated) : undefined;
    // They are part of what was recorded.
    if (String(byLayer) !== String(this.#backpropagated)) {
      this.#capture.forget();
      this.#rehearsed.clear();
      this.#native.forget();
    }
    this.#backpropagated = byLayer;
    const byTensor = Float64Array.from(factors.flatMap(({ gradient, rate }) => [gradient, rate]));
    this.#native.begin(byTensor, byLayer, totals);
  }

  step({ passes, batchSize, learningRate, analysed, first }: ResidentStep): StepTotals {
    const batches = passes.map(nativeBatch);
    const forms = passes.map(({ split, indices, augmentation }) => [
      split.name,
      indices.length,
      !augmentation,
    ]);
    const form = [batchSize, ...forms].join();
    const run = (mode: StepMode) =>
      this.#native.step(batches, batchSize, { learningRate, analysed, first }, mode);
    const mode = this.#capture.modeOf(
      form,
      () => run('capture'),
      () => this.#recorded(),
    );
    this.#rehearse(form, mode, run);
    return run(mode);
  }

  /** Until all have recorded, no graph may wait for another, and nothing that a rehearsal caches would stay. */
  #recorded(): void {
    this.#rehearsed.clear();
    this.#barrier?.();
  }

  /**
   * A step of a new form takes memory, and gives some back when cuDNN has tried out its algorithms: that waits for what runs
   * on other GPUs too (pytorch/pytorch#50925), and a collective there would wait for this one. So all do it by themselves,
   * and meet, before any of them launches a collective. They do it again behind each recording, which gives back what all
   * GPUs of the process have cached; and meet even where a step is replayed, since it may have been recorded here alone.
   */
  #rehearse(form: string, mode: StepMode, run: (mode: StepMode) => unknown): void {
    if (!this.#barrier || this.#rehearsed.has(form)) return;
    this.#rehearsed.add(form);
    if (mode === 'eager') run('rehearse');
    this.#barrier();
  }

  totals(): StepTotals {
    return this.#native.totals();
  }

  evaluate(batch: Batch): EvaluationResult {
    return this.#native.evaluate(nativeBatch(batch));
  }

  measure() {
    const sums = this.#native.measure();
    return Array.from({ length: sums.length / 4 }, (_, tensor) => {
      const [netSum, totalSum, ratioSum, alive] = sums.subarray(4 * tensor);
      return { netSum, totalSum, ratioSum, alive };
    });
  }

  dispose(): void {
    this.#native.dispose();
  }
}
