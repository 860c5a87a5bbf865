// What replicas on a GPU ask of the addon, with an addon that only notes it.

import { describe, expect, it } from 'vitest';
import type { ResidentOptions } from '../../../src/engines/engine.ts';
import type {
  NativeAddon,
  NativeDeviceReplica,
  NativeDeviceReplicaOptions,
  StepMode,
} from '../../../src/engines/torch/addon.ts';
import { DeviceReplica, HostedReplica } from '../../../src/engines/torch/device-replica.ts';
import { buildModel } from '../../../src/models/index.ts';
import { batchOf, normalisation, randomSplit } from '../fixtures.ts';

const graph = buildModel({ name: 'resnet8', width: 1, classes: 10 });
const batch = batchOf(randomSplit(1, 8, 10));
const totals = { lossSum: 0, correct: 0, samples: 0, iterations: 0, skipped: 0, skippedInARow: 0 };

/** An addon, the options of the replicas that it made, and the calls that they got. */
function notingAddon(fails: (mode: StepMode) => boolean = () => false) {
  const made: NativeDeviceReplicaOptions[] = [];
  const calls: string[] = [];
  const native: Partial<NativeDeviceReplica> = {
    join: () => void calls.push('join'),
    begin: () => void calls.push('begin'),
    forget: () => void calls.push('forget'),
    step(passes, _batchSize, _input, mode) {
      calls.push(`${mode} ${passes.map(({ indices }) => indices.length)}`);
      if (fails(mode)) throw new Error('not today');
      return totals;
    },
    gradient(passes) {
      calls.push(`gradient ${passes.length}`);
      return { lossSum: 1, correct: 2 };
    },
    dispose: () => void calls.push('dispose'),
  };
  const addon = {
    DeviceReplica: function create(options: NativeDeviceReplicaOptions) {
      made.push(options);
      return native;
    },
  } as unknown as NativeAddon;
  return { addon, made, calls };
}

const settings = (cudaGraph: 'auto' | 'on' | 'off') =>
  ({ device: 'cuda:1', precision: 'bfloat16', cudaGraph }) as const;

function resident(
  addon: NativeAddon,
  cudaGraph: 'auto' | 'on' | 'off',
  changes: Partial<ResidentOptions> = {},
) {
  const options: ResidentOptions = {
    ...{ graph, normalisation, labelSmoothing: 0, syncBatchNorm: false, capacity: 8 },
    ...{ momentum: 0.9, nesterov: false, weightDecay: 0, measureWeightDecay: false, ...changes },
  };
  return new DeviceReplica(addon, options, settings(cudaGraph));
}

const step = (size: number) => ({
  passes: [{ ...batch, indices: batch.indices.subarray(0, size), augmentation: undefined }],
  ...{ batchSize: 8, learningRate: 0.1, analysed: false, first: false },
});

describe('a resident replica', () => {
  it('hands over slices that cover the vector, and whether batch norms are of the group', () => {
    const { addon, made } = notingAddon();
    resident(addon, 'off', { syncBatchNorm: true });
    const [{ slices, syncBatchNorm, allGather, host, device, bfloat16 }] = made;
    expect([syncBatchNorm, allGather, host, device, bfloat16]).toEqual([true, undefined, undefined, 1, true]);
    expect([slices.length % 3, slices.at(-2), slices[2]]).toEqual([0, 0, graph.parameterLength]);
  });

  it('rehearses each new kind of step in a group, and meets the others before it takes it', () => {
    const { addon, calls } = notingAddon();
    const made = resident(addon, 'off');
    made.join(new Uint8Array(128), 0, 2, () => calls.push('meet'));
    for (const size of [8, 8, 5, 8, 0, 5]) made.step(step(size));
    expect(calls).toEqual([
      'join',
      ...['rehearse 8', 'meet', 'eager 8', 'eager 8'],
      ...['rehearse 5', 'meet', 'eager 5', 'eager 8'],
      ...['rehearse 0', 'meet', 'eager 0', 'eager 5'],
    ]);
  });

  it('rehearses nothing by itself', () => {
    const { addon, calls } = notingAddon();
    const made = resident(addon, 'on');
    for (let i = 0; i < 4; i++) made.step(step(8));
    expect(calls).toEqual(['eager 8', 'eager 8', 'capture 8', 'replay 8', 'replay 8']);
  });

  it('meets the others at the same steps whether or not recording fails', () => {
    const meetings = [true, false].map((fails) => {
      const { addon, calls } = notingAddon((mode) => fails && mode === 'capture');
      const made = resident(addon, 'auto');
      made.join(new Uint8Array(128), 0, 2, () => calls.push('meet'));
      return [8, 8, 5, 8, 8, 5, 5].map((size) => {
        made.step(step(size));
        return calls.splice(0).filter((call) => call === 'meet').length;
      });
    });
    // New, new, recorded and behind that, recorded and behind that.
    expect(meetings[0]).toEqual([1, 0, 1, 2, 0, 1, 2]);
    expect(meetings[1]).toEqual(meetings[0]);
  });

  it('rehearses again a step that could not be recorded, when all others have recorded it', () => {
    const { addon, calls } = notingAddon((mode) => mode === 'capture');
    const made = resident(addon, 'auto');
    made.join(new Uint8Array(128), 0, 2, () => calls.push('meet'));
    for (let i = 0; i < 4; i++) made.step(step(8));
    expect(calls).toEqual([
      ...['join', 'rehearse 8', 'meet', 'eager 8', 'eager 8'],
      ...['capture 8', 'meet', 'rehearse 8', 'meet', 'eager 8', 'eager 8'],
    ]);
  });

  it('rehearses again behind a recording, of any form, what is not replayed', () => {
    const { addon, calls } = notingAddon();
    const made = resident(addon, 'on');
    made.join(new Uint8Array(128), 0, 2, () => calls.push('meet'));
    made.step(step(5));
    for (let i = 0; i < 3; i++) made.step(step(8));
    calls.splice(0);
    for (const size of [8, 5, 8]) made.step(step(size));
    expect(calls).toEqual(['replay 8', 'rehearse 5', 'meet', 'eager 5', 'replay 8']);
  });

  it('rehearses again where what was recorded is dropped, for other factors', () => {
    const { addon, calls } = notingAddon();
    const made = resident(addon, 'off');
    made.join(new Uint8Array(128), 0, 2, () => {});
    const factors: { gradient: number; rate: number }[] = [];
    for (const backpropagated of [new Map(), new Map([['conv1', 2]]), new Map([['conv1', 2]])]) {
      made.begin(factors, backpropagated);
      made.step(step(8));
    }
    expect(calls).toEqual([
      ...['join', 'begin', 'rehearse 8', 'eager 8'],
      ...['forget', 'begin', 'rehearse 8', 'eager 8'],
      ...['begin', 'eager 8'],
    ]);
  });
});

describe("a replica of weights that are the host's", () => {
  it('hands over its vectors once, and how it exchanges numbers', () => {
    const { addon, made, calls } = notingAddon();
    const vector = () => new Float32Array(new SharedArrayBuffer(4 * graph.parameterLength));
    const [parameters, gradient] = [vector(), vector()];
    const statistics = new Float32Array(graph.statisticsLength);
    const allGather = (own: Float64Array) => own;
    const options = { graph, normalisation, parameters, gradient, statistics };
    const replica = new HostedReplica(addon, { ...options, allGather }, settings('auto'));
    expect(replica.gradient([batch, batch], 16)).toEqual({ lossSum: 1, correct: 2 });
    replica.dispose();
    new HostedReplica(addon, options, settings('auto'));
    expect(calls).toEqual(['gradient 2', 'dispose']);
    const [{ host, ...first }, second] = made;
    expect([host?.weights, host?.gradient, host?.statistics]).toEqual([parameters, gradient, statistics]);
    expect(host?.weights.buffer).toBe(parameters.buffer);
    expect([first.allGather, first.syncBatchNorm]).toEqual([allGather, true]);
    expect([second.allGather, second.syncBatchNorm]).toEqual([undefined, false]);
  });
});
