import { expect, it } from 'vitest';
import { type GpuResults, gpuMarkdown, provenanceOf } from '../../bench/gpu-table.ts';
import type { PeerComparison, PeersResult } from '../../bench/peers.ts';
import type { Provenance } from '../../bench/results.ts';
import type { Speed } from '../../bench/training.ts';

const where: Provenance = {
  ...{ what: 'peers', date: '2026-01-31' },
  machine: { processor: 'ACME 7', cores: 16, memoryBytes: 8, gpus: [], system: 'Linux' },
  versions: { gradamp: '0.1.0', commit: 'abc1234', node: '20.0.0' },
};

const speed = (milliseconds: number, reservedPeak: number, host: number | null): Speed => ({
  ...{
    milliseconds: [milliseconds],
    medianMilliseconds: milliseconds,
    imagesPerSecond: 512_000 / milliseconds,
  },
  ...{ gflops: 400_000 / milliseconds, peakBytes: 1, stepsPerSample: 1 },
  ...{ devicePeakBytes: { allocatedPeak: 1, reservedPeak } },
  ...{ hostMilliseconds: host === null ? null : [host], medianHostMilliseconds: host },
});

const eager: PeerComparison = {
  ...{ peer: 'torch-channels-last', description: '', gradients: { difference: 0, errors: null } },
  ...{ gradamp: speed(4, 2 ** 30, 0.25), theirs: speed(8, 3 * 2 ** 30, null) },
  ratio: { median: 2.04, smallest: 2, largest: 2.1 },
};

const peers: PeersResult & Provenance = {
  ...where,
  ...{ model: 'resnet18', width: 1, parameters: 1, batch: 512, precision: 'float32', workers: 1 },
  ...{ devices: ['cuda:0'], threads: 1, engine: '', n: 5 },
  python: { program: 'python3', python: '3.11', torch: '2.11.0' },
  rows: [eager, { peer: 'torch-compile', unavailable: 'failed: no compiler' }],
};

const peak = {
  ...where,
  ...({ precision: 'float32', gflops: 200_000 } as const),
  source: 'float32 matmul of 8192x8192, torch 2.11.0, cuda:0 (ACME H1)',
};

const results: GpuResults = { peers: [peers], peaks: [peak], many: [] };

it('where the driver does not list the GPU, its name is that which torch tells', () => {
  expect(provenanceOf(results)!.machine.gpus).toEqual(['ACME H1']);
  expect(provenanceOf({ peers: [], peaks: [], many: [] })).toBeUndefined();
});

it('a comparison is a row: rates, ratios, memory of the device, host time, share of the peak; what is missing is told', () => {
  const markdown = gpuMarkdown(results, provenanceOf(results)!);
  expect(markdown).toMatch(
    /^# ACME H1, 2026-01-31\n\ngradamp 0\.1\.0 \(abc1234\), Node 20\.0\.0, ACME 7, 16 cores\.\n/,
  );
  // 512 images in 4 and in 8 ms; 400 GFLOP in 4 ms are half of the peak.
  const row = markdown.split('\n').find((line) => line.startsWith('| resnet18 |'));
  expect(row).toBe(
    '| resnet18 | 512 | float32 | 128000 | 64000 | 2.04 x | - | - | - | - | 1.0 GiB | 3.0 GiB | 0.25 of 4.00 | 50.0% |',
  );
  expect(markdown).toContain('torch-compile, resnet18, batch 512, float32: failed: no compiler.');
});

it('sections are those of the stages that ran', () => {
  const tests = { passed: 12, skipped: 1 };
  const markdown = gpuMarkdown({ peers: [], peaks: [peak], many: [], tests }, where);
  expect(markdown.match(/^## .*$/gm)).toEqual(['## Besides']);
  expect(markdown).toContain('- Tests: 12 passed, 1 skipped.');
});
