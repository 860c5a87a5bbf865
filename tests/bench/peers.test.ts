// Against a real PyTorch, where there is one.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  errorsOf,
  type GradientPrecision,
  isFine,
  lastLayerOf,
  type Range,
  relativeDifference,
} from '../../bench/gradient-check.ts';
import { type MeasuredOptions, measuredConfig } from '../../bench/measured.ts';
import { benchParity } from '../../bench/parity.ts';
import { measurePeak } from '../../bench/peak.ts';
import { benchPeers, missingPeer } from '../../bench/peers.ts';
import { findTorchPython, pythonCommand } from '../../bench/python.ts';
import { Subject } from '../../bench/subject.ts';
import { type TrainingAnswer, type TrainingRequest, warmUp } from '../../bench/training.ts';
import type { Precision } from '../../src/config/schema.ts';
import { UsageError } from '../../src/errors.ts';
import { buildModel, modelNames } from '../../src/models/index.ts';
import { fromPackage } from '../../src/package-root.ts';

const python = findTorchPython();

const TINY: MeasuredOptions = {
  ...{ model: 'resnet8', width: 0.5, batch: 4, workers: 1, device: 'cpu' },
  ...{ engine: 'tfjs', backend: 'wasm', set: [] },
};

it('the relative difference is |a - b| / |b|', () => {
  expect(relativeDifference(Float32Array.of(3, 0), Float32Array.of(3, 4))).toBeCloseTo(0.8, 7);
});

it('a Python without torch that was asked for is wrong input, with its last words', () => {
  expect(() => findTorchPython('no-such-python')).toThrow(
    /^--python: expected a Python with torch, but no-such-python: no such program; install torch/,
  );
  expect(() => findTorchPython('false')).toThrow(UsageError);
});

it('a torch that is there and does not load is a row that says so for each of its peers, and the others go on', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradamp-python-'));
  const program = join(folder, 'python');
  // Answers what it has; then its scripts fail.
  const script = 'case "$1" in -c) echo 3.12.1 2.9.0;; *) echo "no libcudart.so" >&2; exit 1;; esac';
  writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  try {
    const peers = ['torch', 'tfjs-stock', 'torch-channels-last'] as const;
    const options = { ...TINY, ...{ pairs: 1, steps: 1, peers, python: program } };
    const { rows, python } = await benchPeers(options, () => {});
    expect(python).toEqual({ program, python: '3.12.1', torch: '2.9.0' });
    const unavailable = 'ended with exit code 1: no libcudart.so';
    expect(rows[0]).toEqual({ peer: 'torch', unavailable, outOfMemory: false });
    expect(rows[1]).toMatchObject({ peer: 'tfjs-stock', theirs: { stepsPerSample: 1 } });
    expect(rows[2]).toEqual({ peer: 'torch-channels-last', unavailable, outOfMemory: false });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe.skipIf(!python)('with PyTorch', () => {
  it('the models in Python have as many parameters as ours', () => {
    const code = `
import json, sys
from models import build, parameter_count
print(json.dumps({name: parameter_count(build(name, 0.1, 10)) for name in sys.argv[1:]}))`;
    const { stdout } = spawnSync(python!.program, ['-B', '-c', code, ...modelNames], {
      cwd: fromPackage('bench', 'peers'),
      encoding: 'utf8',
    });
    const counts = modelNames.map((name) => [
      name,
      buildModel({ name, width: 0.1, classes: 10 }).parameterCount,
    ]);
    expect(JSON.parse(stdout)).toEqual(Object.fromEntries(counts));
  });

  it("the peak of libtorch is that of its fastest product, with a worker's threads", async () => {
    const peak = await measurePeak(measuredConfig(TINY), 'torch', python);
    // One thread of any processor with vector instructions reaches 1; none of today reaches 1000.
    expect(peak!.gflops).toBeGreaterThan(1);
    expect(peak!.gflops).toBeLessThan(1000);
    expect(peak!.source).toMatch(/^float32 (matmul|1x1 convolution) of 1024x1024, torch .*, 1 thread$/);
  });

  it('a comparison has a row a peer: figures and ratio, or why there are none', async () => {
    const lines: string[] = [];
    const result = await benchPeers(
      {
        ...TINY,
        ...{ pairs: 1, steps: 1, workers: 2, peers: ['torch-ddp', 'torch-compile'] },
      },
      (line) => lines.push(line),
    );
    const [ddp, compiled] = result.rows;
    if ('unavailable' in ddp) throw new Error(ddp.unavailable);
    const { gradamp, theirs, ratio, description, gradients } = ddp;
    expect(ratio.median).toBeCloseTo(theirs.milliseconds[0] / gradamp.milliseconds[0], 10);
    expect(theirs.imagesPerSecond).toBeCloseTo(4000 / theirs.milliseconds[0], 6);
    // Of two Python processes with torch: more than 50 MiB each.
    expect(theirs.peakBytes).toBeGreaterThan(100 * 2 ** 20);
    expect(description).toMatch(/channels_last, 2 processes of 1 thread$/);
    // Two implementations in float32; rounding decides a ReLU or two.
    expect(gradients.difference).toBeLessThan(1e-3);
    expect(gradients.errors).toBeNull();
    if (python!.torch.startsWith('1.')) {
      expect(compiled).toEqual({
        peer: 'torch-compile',
        unavailable: `failed: RuntimeError: torch ${python!.torch} has no torch.compile`,
        outOfMemory: false,
      });
    }
    expect(lines[0]).toMatch(/^torch-ddp, pair 1 of 1: gradamp [\d.]+ ms, torch-ddp [\d.]+ ms a step$/);
    // torch.compile compiles C++.
  }, 180_000);

  it('a graph of CUDA is no peer on a CPU', async () => {
    const peers = ['torch-cuda-graph', 'torch-compile-graph', 'torch-channels-last'] as const;
    const { rows } = await benchPeers({ ...TINY, ...{ pairs: 1, steps: 1, peers } }, () => {});
    const onGpuOnly = { unavailable: 'runs on a GPU only', outOfMemory: false };
    expect(rows[0]).toEqual({ peer: 'torch-cuda-graph', ...onGpuOnly });
    expect(rows[1]).toEqual({ peer: 'torch-compile-graph', ...onGpuOnly });
    const [, , eager] = rows;
    if ('unavailable' in eager) throw new Error(eager.unavailable);
    const { devicePeakBytes, hostMilliseconds } = eager.theirs;
    expect({ devicePeakBytes, hostMilliseconds }).toEqual({ devicePeakBytes: null, hostMilliseconds: null });
  });

  it('parity: our gradients in float32 are as far from float64 as those of PyTorch', async () => {
    const options = { models: ['resnet8'], precisions: ['float32'], device: 'cpu', engine: 'tfjs' } as const;
    const { rows, fine } = await benchParity(options, () => {});
    const [{ model, precision, ours, theirs, whole }] = rows;
    expect(whole).toEqual({ ours, theirs });
    expect({ model, precision, fine }).toEqual({ model: 'resnet8', precision: 'float32', fine: true });
    // Rounding, and a ReLU or two that it decides.
    for (const error of [ours, theirs]) {
      expect(error).toBeGreaterThan(1e-8);
      expect(error).toBeLessThan(1e-3);
    }
  });

  it('parity on a CPU is that of float32', async () => {
    const options = { models: ['resnet8'], precisions: ['tf32'], device: 'cpu', engine: 'tfjs' } as const;
    await expect(benchParity(options, () => {})).rejects.toThrow(
      new UsageError('--precisions: expected float32 on a CPU, got tf32'),
    );
  });

  const trainStep = (changes: Record<string, unknown>) =>
    Subject.start<{ parameters: number }, TrainingRequest, TrainingAnswer>(
      'torch',
      pythonCommand(python!, 'train_step', {
        ...{ variant: 'torch-channels-last', model: 'resnet8', width: 0.5, classes: 10, batch: 4 },
        ...{ processes: 1, threads: 1, device: 'cpu', precision: 'float32', images: 8, ...changes },
      }),
    );

  it('a step of PyTorch in bfloat16 is one of autocast', async () => {
    const subject = await trainStep({ precision: 'bfloat16' });
    const { milliseconds, devicePeakBytes } = await subject.ask({ kind: 'steps', steps: 1 });
    await subject.end();
    expect(milliseconds).toBeGreaterThan(0);
    expect(devicePeakBytes).toBeNull();
  });

  it("a batch of PyTorch's is 32x32 crops of padded images, flipped or not, normalised", () => {
    const code = `
from torch.nn import functional
from train_step import Trainer
setup = dict(variant="torch-channels-last", model="resnet8", width=0.125, classes=10, batch=64, processes=1)
trainer = Trainer({**setup, "threads": 1, "device": "cpu", "precision": "float32", "images": 2}, 0)
padded = functional.pad(trainer.images, (4, 4, 4, 4))
crops = padded.unfold(2, 32, 1).unfold(3, 32, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
images, labels = trainer.assemble()
seen = set()
for image, label in zip(images, labels):
    pixels = ((image + 2) * 255 / 4).round()
    for flipped in (False, True):
        same = ((pixels.flip(2) if flipped else pixels) == crops).flatten(1).all(1).nonzero().flatten().tolist()
        seen.update((place // 81, place % 81, flipped) for place in same)
        if same:
            assert trainer.labels[same[0] // 81] == label
            break
    else:
        raise AssertionError("no crop of an image")
images, places, flips = zip(*seen)
print(len(set(images)), len(set(flips)), len(set(places)) > 20)`;
    const { stdout, stderr } = spawnSync(python!.program, ['-B', '-c', code], {
      cwd: fromPackage('bench', 'peers'),
      encoding: 'utf8',
    });
    expect(stdout.trim(), stderr).toBe('2 2 True');
  });

  it('a precision that PyTorch is not told by our configs is refused', async () => {
    await expect(trainStep({ precision: 'float16' })).rejects.toThrow(
      'torch failed: ValueError: expected a precision of float32, tf32, bfloat16, got float16',
    );
  });
});

it('a gradient may be as far from float64 as a ReLU decides, or as twice that of the peer, but not by half', () => {
  const errors = (ours: number, theirs: number) => ({ ours, theirs });
  expect(isFine('float32', errors(0.04, 1e-6))).toBe(true);
  expect(isFine('float32', errors(0.06, 1e-6))).toBe(false);
  expect(isFine('bfloat16', errors(0.3, 0.2))).toBe(true);
  expect(isFine('bfloat16', errors(0.45, 0.2))).toBe(false);
  expect(isFine('bfloat16', errors(0.51, 1.3))).toBe(false);
  expect(isFine('bfloat16', errors(Number.NaN, 0.2))).toBe(false);
  expect(isFine('bfloat16', errors(0.1, Number.NaN))).toBe(false);
});

describe('in a reduced precision the gradient of the last layer is compared', () => {
  const graph = buildModel({ name: 'resnet8', width: 0.5, classes: 10 });
  const lastLayer = lastLayerOf(graph);
  const reference = Float32Array.from({ length: graph.parameterLength }, (_, i) => Math.sin(i * i));
  const scaled = (factor: number) => reference.map((value) => factor * value);
  const last = ({ start, end }: Range) => reference.subarray(start, end);
  /** A peer that is off by more than 1, as PyTorch is from resnet50 on. */
  const errors = (ours: Float32Array, precision: Precision = 'bfloat16') =>
    errorsOf(
      precision,
      new Map([[precision, ours]]),
      new Map<GradientPrecision, Float32Array>([
        [precision, scaled(2.3)],
        ['float64', reference],
      ]),
      lastLayer,
    );
  const shuffled = reference.map((_, i) => {
    const { start, end } = lastLayer;
    return i < start ? reference[i] : reference[start + (((i - start) * 7 + 3) % (end - start))];
  });

  it('it is that of linear.weight and linear.bias', () => {
    const { parameters } = graph.layers.at(-1)!;
    expect(parameters.map(({ name }) => name)).toEqual(['linear.weight', 'linear.bias']);
    expect(last(lastLayer)).toHaveLength(parameters[0].size + parameters[1].size);
  });

  it.each([
    ['zeros', scaled(0), 1],
    ['the negated gradient', scaled(-1), 2],
    ['a shuffled gradient', shuffled, Math.SQRT2],
  ])('%s are refused, however far off the peer is', (_, ours, distance) => {
    const found = errors(ours);
    expect(found.ours).toBeCloseTo(distance, 0);
    expect(found.theirs).toBeCloseTo(1.3, 5);
    expect(isFine('bfloat16', found)).toBe(false);
  });

  it('what lies before it is told for information, and in float32 compared as well', () => {
    const ours = reference.map((value, i) => (i < lastLayer.start ? -value : 1.01 * value));
    const { whole, ...found } = errors(ours);
    expect(found.ours).toBeCloseTo(0.01, 5);
    expect(whole.ours).toBeGreaterThan(1.9);
    expect(isFine('bfloat16', { ...found, theirs: 0.01 })).toBe(true);
    expect(errors(ours, 'float32').ours).toBe(whole.ours);
  });
});

it.each([
  ['failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.'],
  ['ended with exit code 1: RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED'],
])('a peer that finds no memory on the device says so: %s', (reason) => {
  expect(missingPeer('torch', reason, true)).toEqual({
    peer: 'torch',
    unavailable: `ran out of device memory beside our process, which keeps what it has allocated; ${reason}`,
    outOfMemory: true,
  });
  expect(missingPeer('torch', reason, false)).toEqual({
    ...{ peer: 'torch', unavailable: reason, outOfMemory: false },
  });
});

it.each([
  ['cpu', 1000],
  ['cuda:0', 300],
])('a sample on %s has as many steps as %d ms hold', async (device, milliseconds) => {
  const counts: number[] = [];
  const ask = async (request: TrainingRequest): Promise<TrainingAnswer> => {
    if (request.kind !== 'steps') throw new Error('expected steps');
    counts.push(request.steps);
    return {
      ...{ milliseconds: 10 * request.steps, choiceMilliseconds: 0, hostMilliseconds: null },
      ...{ peakBytes: 1, devicePeakBytes: null },
    };
  };
  const { sample, steps } = await warmUp({ ask }, { devices: [device] });
  expect(await sample()).toMatchObject({ millisecondsPerStep: 10 });
  expect(steps).toBe(milliseconds / 10);
  expect(counts.at(-1)).toBe(steps);
});
