// Against a real PyTorch, where there is one.

import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { isFine, relativeDifference } from '../../bench/gradient-check.ts';
import { type MeasuredOptions, measuredConfig } from '../../bench/measured.ts';
import { benchParity } from '../../bench/parity.ts';
import { measurePeak } from '../../bench/peak.ts';
import { benchPeers } from '../../bench/peers.ts';
import { findTorchPython, pythonCommand } from '../../bench/python.ts';
import { Subject } from '../../bench/subject.ts';
import type { TrainingAnswer, TrainingRequest } from '../../bench/training.ts';
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
    // Two implementations in float32 on weights without near-ties.
    expect(gradients.difference).toBeLessThan(1e-4);
    expect(gradients.errors).toBeNull();
    if (python!.torch.startsWith('1.')) {
      expect(compiled).toEqual({
        peer: 'torch-compile',
        unavailable: `failed: RuntimeError: torch ${python!.torch} has no torch.compile`,
      });
    }
    expect(lines[0]).toMatch(/^torch-ddp, pair 1 of 1: gradamp [\d.]+ ms, torch-ddp [\d.]+ ms a step$/);
  });

  it('a graph of CUDA is no peer on a CPU', async () => {
    const peers = ['torch-cuda-graph', 'torch-channels-last'] as const;
    const { rows } = await benchPeers({ ...TINY, ...{ pairs: 1, steps: 1, peers } }, () => {});
    expect(rows[0]).toEqual({ peer: 'torch-cuda-graph', unavailable: 'runs on a GPU only' });
    const [, eager] = rows;
    if ('unavailable' in eager) throw new Error(eager.unavailable);
    const { devicePeakBytes, hostMilliseconds } = eager.theirs;
    expect({ devicePeakBytes, hostMilliseconds }).toEqual({ devicePeakBytes: null, hostMilliseconds: null });
  });

  it('parity: our gradients in float32 are as far from float64 as those of PyTorch', async () => {
    const options = { models: ['resnet8'], precisions: ['float32'], device: 'cpu', engine: 'tfjs' } as const;
    const { rows, fine } = await benchParity(options, () => {});
    const [{ model, precision, ours, theirs }] = rows;
    expect({ model, precision, fine }).toEqual({ model: 'resnet8', precision: 'float32', fine: true });
    // Rounding alone: this model has no ReLU that it decides.
    for (const error of [ours, theirs]) {
      expect(error).toBeGreaterThan(1e-8);
      expect(error).toBeLessThan(1e-5);
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

  it('a precision that PyTorch is not told by our configs is refused', async () => {
    await expect(trainStep({ precision: 'float16' })).rejects.toThrow(
      'torch failed: ValueError: expected a precision of float32, tf32, bfloat16, got float16',
    );
  });
});

it('a gradient may be as far from float64 as a ReLU decides, or as twice that of the peer', () => {
  const errors = (ours: number, theirs: number) => ({ ours, theirs });
  expect(isFine('float32', errors(0.04, 1e-6))).toBe(true);
  expect(isFine('float32', errors(0.06, 1e-6))).toBe(false);
  expect(isFine('bfloat16', errors(1.2, 0.7))).toBe(true);
  expect(isFine('bfloat16', errors(1.5, 0.7))).toBe(false);
  expect(isFine('bfloat16', errors(Number.NaN, 0.7))).toBe(false);
});
