// `gradamp bench peers`: our training step beside that of others, the same model, batch, precision and threads, in
// turn on the same machine in one call.

import type { Config, Precision } from '../src/config/schema.ts';
import { UsageError } from '../src/errors.ts';
import { checkGradient, type GradientAgreement } from './gradient-check.ts';
import { type Measured, type MeasuredOptions, measuredConfig, measuredOf, threadsOf } from './measured.ts';
import type { Peer } from './peer-names.ts';
import { findTorchPython, NO_TORCH, pythonCommand, type TorchPython } from './python.ts';
import { alternate, ratioOfPairs, type Spread } from './statistics.ts';
import { type Command, nodeCommand, SubjectError } from './subject.ts';
import { CLASSES } from './synthetic-data.ts';
import {
  type Speed,
  speedOf,
  startPeer,
  startTraining,
  stepsPerEpochOf,
  usesGpu,
  warmUp,
  workOf,
} from './training.ts';

export interface PeersOptions extends MeasuredOptions {
  readonly pairs: number;
  /** In a sample; without it as many as a second holds, on a GPU 0.3 s. */
  readonly steps?: number;
  readonly python?: string;
  readonly peers: readonly Peer[];
}

export interface PeerComparison {
  readonly peer: Peer;
  readonly description: string;
  readonly gradamp: Speed;
  readonly theirs: Speed;
  /** Their time / ours, over the pairs: above 1 we are faster. */
  readonly ratio: Spread;
  /** Of the two sides' gradients on a small case. */
  readonly gradients: GradientAgreement;
}

export interface MissingPeer {
  readonly peer: Peer;
  /** Why. */
  readonly unavailable: string;
  /** It may well run alone: our process keeps what its allocator holds meanwhile. */
  readonly outOfMemory: boolean;
}

export type PeerRow = PeerComparison | MissingPeer;

export interface PeersResult extends Measured {
  readonly engine: string;
  /** Pairs. */
  readonly n: number;
  readonly python: TorchPython | null;
  readonly rows: readonly PeerRow[];
}

/** What a peer's process says of itself. */
interface PeerIntroduction {
  readonly parameters: number;
}

/**
 * A peer that does not run here is a row that says why.
 * @param report called after each pair with a line of progress.
 * @throws UsageError as `gradamp train`, for a Python without torch, and where no peer can run; Error where a peer
 *   does not compute the same gradient.
 */
export async function benchPeers(
  options: PeersOptions,
  report: (line: string) => void,
): Promise<PeersResult> {
  const config = measuredConfig(options);
  const python = findTorchPython(options.python);
  const plans = options.peers.map((peer) => ({ peer, plan: planOf(peer, config, python) }));
  if (plans.every(({ plan }) => 'unavailable' in plan)) {
    const reasons = plans.map(({ peer, plan }) => `${peer}: ${(plan as Unavailable).unavailable}`);
    throw new UsageError(`expected a peer that can run here; ${reasons.join('; ')}`);
  }
  // All at once, long as it takes to load a library: nothing is timed, and no algorithm chosen by its time, before the
  // first steps of a process, and until then it holds little more than weights and images.
  const starting = startTraining(config);
  const runnable = plans.flatMap(({ peer, plan }) => ('unavailable' in plan ? [] : [{ peer, plan }]));
  const subjects = new Map(
    runnable.map(({ peer, plan }) => [plan, startPeer<PeerIntroduction>(peer, plan.command)] as const),
  );
  // Peers of one library compute their gradients with the same code.
  const checks = new Map(
    [...new Map(runnable.map(({ plan }) => [plan.library, plan])).values()].map(
      ({ library, gradient }) => [library, checkGradient(config, library, gradient)] as const,
    ),
  );
  const started = Promise.allSettled([starting, ...subjects.values()]);
  await Promise.all([started, Promise.allSettled(checks.values())]);
  try {
    const training = await starting;
    const ours = await warmUp(training, config, options.steps);
    const work = workOf(config);
    const compare = async (peer: Peer, plan: Runnable): Promise<PeerComparison> => {
      const subject = await subjects.get(plan)!;
      try {
        const gradients = await checks.get(plan.library)!;
        checkParameters(config, peer, subject.introduction);
        const theirs = await warmUp(subject, config, options.steps);
        const { a, b } = await alternate(options.pairs, ours.sample, theirs.sample, (pair, a, b) =>
          report(
            `${peer}, pair ${pair + 1} of ${options.pairs}: gradamp ${a.millisecondsPerStep.toFixed(1)} ms, ` +
              `${peer} ${b.millisecondsPerStep.toFixed(1)} ms a step`,
          ),
        );
        const speeds = { gradamp: speedOf(a, ours.steps, work), theirs: speedOf(b, theirs.steps, work) };
        const ratio = ratioOfPairs(speeds.theirs.milliseconds, speeds.gradamp.milliseconds);
        return { peer, description: plan.description, ...speeds, ratio, gradients };
      } finally {
        // Its memory is the next one's.
        await subject.end();
      }
    };
    const rows: PeerRow[] = [];
    for (const { peer, plan } of plans) {
      try {
        rows.push('unavailable' in plan ? { peer, ...plan, outOfMemory: false } : await compare(peer, plan));
      } catch (error) {
        // What the other side cannot do is no fault of ours: torch before 2 has no torch.compile, torch 1.13 crashes
        // in narrow convolutions in channels_last, ...
        if (!(error instanceof SubjectError) || error.subject === 'gradamp') throw error;
        rows.push(missingPeer(peer, error.reason, usesGpu(config)));
      }
    }
    return {
      ...measuredOf(config),
      engine: training.introduction.engine.description,
      n: options.pairs,
      python: python ?? null,
      rows,
    };
  } finally {
    await Promise.all((await started).map((result) => result.status === 'fulfilled' && result.value.end()));
  }
}

/** As CUDA, cuBLAS and cuDNN say it. */
const OUT_OF_MEMORY = /out of memory|ALLOC_FAILED/i;

/** @param reason why it failed. */
export function missingPeer(peer: Peer, reason: string, onGpu: boolean): MissingPeer {
  const outOfMemory = onGpu && OUT_OF_MEMORY.test(reason);
  const unavailable = outOfMemory
    ? `ran out of device memory beside our process, which keeps what it has allocated; ${reason}`
    : reason;
  return { peer, unavailable, outOfMemory };
}

interface Runnable {
  readonly command: Command;
  readonly description: string;
  readonly library: 'torch' | 'tfjs';
  /** Writes the gradient of a small case; see gradient-check.ts. */
  readonly gradient: (setup: Record<string, unknown>) => Command;
}

interface Unavailable {
  readonly unavailable: string;
}

const MODES: Partial<Record<Peer, string>> = {
  'torch-compile': 'torch.compile in its default mode, ',
  'torch-compile-graph': 'torch.compile in mode reduce-overhead, ',
  'torch-cuda-graph': 'one CUDA graph, ',
};

function planOf(peer: Peer, config: Config, python: TorchPython | undefined): Runnable | Unavailable {
  const { model, batchSize, accumulate, microBatch, syncBatchNorm, clipNorm, devices } = config;
  const precision: Precision = config.precision;
  if (accumulate > 1 || microBatch !== undefined || syncBatchNorm || clipNorm !== undefined) {
    return {
      unavailable: 'takes plain steps only: leave out accumulate, microBatch, syncBatchNorm and clipNorm',
    };
  }
  const workers = devices.length;
  if (peer === 'tfjs-stock') {
    if (workers > 1 || usesGpu(config)) return { unavailable: 'runs on one thread of a CPU only' };
    return {
      command: nodeCommand('stock-process', config),
      description: 'wasm backend with its stock kernels, batch norm of tf operations, gradient and update',
      library: 'tfjs',
      gradient: (setup) => nodeCommand('gradient-process', 'stock', config, setup),
    };
  }
  if (!python) return { unavailable: NO_TORCH };
  const device = usesGpu(config) ? 'cuda' : 'cpu';
  if (device === 'cpu' && (peer === 'torch-cuda-graph' || peer === 'torch-compile-graph'))
    return { unavailable: 'runs on a GPU only' };
  if (device === 'cpu' && precision !== 'float32') return { unavailable: 'runs in float32 only on a CPU' };
  if (device === 'cuda' && workers > 1 && peer !== 'torch-ddp')
    return { unavailable: 'runs on one GPU only' };
  const processes = peer === 'torch-ddp' ? workers : 1;
  const threads = threadsOf(config) * (workers / processes);
  const setup = {
    ...{ variant: peer, model: model.name, width: model.width, classes: CLASSES, batch: batchSize },
    ...{ processes, threads, device, precision, images: stepsPerEpochOf(config) * batchSize },
  };
  const processText = processes > 1 ? `${processes} processes of ` : '';
  const place = device === 'cuda' ? precision : `${threads} thread${threads > 1 ? 's' : ''}`;
  const format = peer === 'torch' ? 'contiguous' : 'channels_last';
  const mode = MODES[peer] ?? '';
  return {
    command: pythonCommand(python, 'train_step', setup),
    description: `torch ${python.torch}, Python ${python.python}, ${format}, ${mode}${processText}${place}`,
    library: 'torch',
    // On one thread: it is one of many processes that start at once, and its model is small.
    gradient: (small) => pythonCommand(python, 'gradient', { ...setup, ...small, threads: 1 }),
  };
}

function checkParameters(config: Config, peer: Peer, { parameters }: PeerIntroduction): void {
  const { parameters: expected } = measuredOf(config);
  if (parameters !== expected) {
    throw new Error(`${peer}: expected a model of ${expected} parameters, got ${parameters}: no comparison`);
  }
}
