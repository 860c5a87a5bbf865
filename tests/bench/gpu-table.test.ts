import { expect, it } from 'vitest';
import { type GpuResults, gpuMarkdown, provenanceOf, testResultsOf } from '../../bench/gpu-table.ts';
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
  rows: [
    eager,
    { peer: 'torch-compile', unavailable: 'failed: no compiler', outOfMemory: false },
    { peer: 'torch-cuda-graph', unavailable: 'ran out', outOfMemory: true },
  ],
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
    '| resnet18 | 512 | float32 | 128000 | 64000 | 2.04 x | failed | - | - | - | out of memory | - | 1.0 GiB | 3.0 GiB | 0.25 of 4.00 | 50.0% |',
  );
  expect(markdown).toContain('torch-compile, resnet18, batch 512, float32: failed: no compiler.');
});

it('sections are those of the stages that ran', () => {
  const tests = { passed: 12, skipped: 1, failed: [] };
  const markdown = gpuMarkdown({ peers: [], peaks: [peak], many: [], tests }, where);
  expect(markdown.match(/^## .*$/gm)).toEqual(['## Besides']);
  expect(markdown).toContain('- Tests: 12 passed, 0 failed, 1 skipped.');
});

it('modes of torch.compile have names, and who assembles a batch in a graph is told', () => {
  const markdown = gpuMarkdown(results, where);
  expect(markdown).toContain(
    '| eager, images/s | faster than eager | torch.compile, default mode, images/s | faster than torch.compile, default mode | ' +
      'torch.compile, reduce-overhead, images/s | faster than torch.compile, reduce-overhead | CUDA graph, images/s |',
  );
  expect(markdown).toContain(
    "Ours is part of the CUDA graph that is a step, where a step is one; PyTorch's is launched operation by operation",
  );
});

it('tests that failed are counted and named; a file that did not load is one', () => {
  const test = (fullName: string, status: string) => ({ fullName, status });
  const tests = testResultsOf({
    ...{ numPassedTests: 250, numPendingTests: 0 },
    testResults: [
      {
        ...{ name: '/tests/gpu/models.test.ts', status: 'failed' },
        assertionResults: [test('resnet8 learns', 'passed'), test('resnet18 is near', 'failed')],
      },
      { name: '/tests/gpu/graph.test.ts', status: 'failed', assertionResults: [] },
      { name: '/tests/gpu/fine.test.ts', status: 'passed', assertionResults: [] },
    ],
  });
  expect(tests).toEqual({ passed: 250, skipped: 0, failed: ['resnet18 is near', 'graph.test.ts'] });
  expect(gpuMarkdown({ ...results, tests }, where)).toContain(
    '- Tests: 250 passed, 2 failed, 0 skipped.\n  - FAILED: resnet18 is near\n  - FAILED: graph.test.ts\n',
  );
});

it('stages that failed come first', () => {
  const failures = [{ stage: 'tests', seconds: 40, reason: 'exit code 1' }];
  const markdown = gpuMarkdown({ ...results, failures }, where);
  expect(markdown.match(/^## .*$/gm)).toEqual(['## Stages that FAILED', '## Training step beside PyTorch']);
  expect(markdown).toContain('- tests: exit code 1, after 40 s.');
});

it('a gradient that is too far is told in the table, beside the distances of the whole gradient', () => {
  const row = {
    ...({ model: 'resnet50', width: 0.125, precision: 'bfloat16', ours: 0.6, theirs: 0.2 } as const),
    ...{ limit: 0.4, fine: false, whole: { ours: 1.3, theirs: 1.2 } },
  };
  const parity = { ...where, ...{ device: 'cuda', torch: '2.11.0', batch: 32, rows: [row], fine: false } };
  expect(gpuMarkdown({ ...results, parity }, where)).toContain(
    '| resnet50 | bfloat16 | 6.0e-1 | 2.0e-1 | 4.0e-1 | NO | 1.3e+0 | 1.2e+0 |',
  );
});
