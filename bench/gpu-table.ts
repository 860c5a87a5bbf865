// What bench/gpu.sh measured, as one document: JSON with every figure, and Markdown for people.

import { basename } from 'node:path';
import { formatBytes, formatPercent, formatRate } from '../src/cli/format.ts';
import type { Precision } from '../src/config/schema.ts';
import type { RunSummary } from '../src/training/metrics.ts';
import type { AnalysisResult } from './analysis.ts';
import type { ManyResult } from './many.ts';
import type { ParityResult } from './parity.ts';
import type { Peak } from './peak.ts';
import type { Peer } from './peer-names.ts';
import type { PeerRow, PeersResult } from './peers.ts';
import type { Provenance } from './results.ts';

type PeakResult = Peak & { readonly precision: Precision };
/** Results of the stages, in the order of their files' names; what was not measured is missing. */
export interface GpuResults {
  readonly peers: readonly (PeersResult & Provenance)[];
  readonly peaks: readonly (PeakResult & Provenance)[];
  readonly many: readonly (ManyResult & Provenance)[];
  readonly parity?: ParityResult & Provenance;
  readonly analysis?: AnalysisResult & Provenance;
  readonly run?: RunSummary;
  readonly tests?: TestResults;
  /** Of stages that were not gone through to their end. */
  readonly failures?: readonly StageFailure[];
}

export interface TestResults {
  readonly passed: number;
  readonly skipped: number;
  /** By name; of a file that did not load, the file's. */
  readonly failed: readonly string[];
}

/** As bench/gpu.sh writes it. */
export interface StageFailure {
  readonly stage: string;
  readonly seconds: number;
  /** `exit code 1` */
  readonly reason: string;
}

/** What is read of the JSON reporter of vitest. */
export interface TestsReport {
  readonly numPassedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

export function testResultsOf({ numPassedTests, numPendingTests, testResults }: TestsReport): TestResults {
  const failed = testResults.flatMap(({ name, status, assertionResults }) => {
    const names = assertionResults.flatMap((test) => (test.status === 'failed' ? [test.fullName] : []));
    return status === 'failed' && names.length === 0 ? [basename(name)] : names;
  });
  return { passed: numPassedTests, skipped: numPendingTests, failed };
}

/** Of all parts; undefined where nothing was measured. */
export function provenanceOf({ peers, peaks, many }: GpuResults): Provenance | undefined {
  const [first] = [...peers, ...peaks, ...many];
  if (!first) return undefined;
  const { date, versions } = first;
  // Containers may hide the driver's list, while torch knows the device's name.
  const [, named] = /cuda:0 \((.*)\)/.exec(peaks[0]?.source ?? '') ?? [];
  const gpus = first.machine.gpus.length > 0 || named === undefined ? first.machine.gpus : [named];
  return { what: 'gpu', date, machine: { ...first.machine, gpus }, versions };
}

/** @param where as provenanceOf(results). */
export function gpuMarkdown(results: GpuResults, where: Provenance): string {
  const { machine, versions, date } = where;
  const place = machine.gpus[0] ?? 'a GPU that did not tell its name';
  const commit = versions.commit ? ` (${versions.commit})` : '';
  return [
    `# ${place}, ${date}`,
    `gradamp ${versions.gradamp}${commit}, Node ${versions.node}, ${machine.processor}, ${machine.cores} cores.`,
    ...failuresSection(results),
    ...[peersSection(results), manySection(results), paritySection(results), restSection(results)].flat(),
  ]
    .map((part) => `${part}\n`)
    .join('\n');
}

function failuresSection({ failures = [] }: GpuResults): readonly string[] {
  if (failures.length === 0) return [];
  const lines = failures.map(({ stage, seconds, reason }) => `- ${stage}: ${reason}, after ${seconds} s.`);
  return ['## Stages that FAILED', lines.join('\n')];
}

const COMPARED: readonly (readonly [Peer, string])[] = [
  ['torch-channels-last', 'eager'],
  ['torch-compile', 'torch.compile, default mode'],
  ['torch-compile-graph', 'torch.compile, reduce-overhead'],
  ['torch-cuda-graph', 'CUDA graph'],
];

function peersSection({ peers, peaks }: GpuResults): readonly string[] {
  if (peers.length === 0) return [];
  const columns = [
    ...['model', 'batch', 'precision', 'gradamp, images/s'],
    ...COMPARED.flatMap(([, title]) => [`${title}, images/s`, `faster than ${title}`]),
    ...['device memory', 'eager', 'host ms/step', 'share of the peak'],
  ];
  const rows = peers.map((result) => {
    const found = (name: Peer) => result.rows.find(({ peer }) => peer === name);
    const [measured] = result.rows.flatMap((row) => ('unavailable' in row ? [] : [row]));
    const peak = peaks.find(({ precision }) => precision === result.precision);
    const eager = found('torch-channels-last');
    const ours = measured?.gradamp;
    const host = ours?.medianHostMilliseconds ?? null;
    return [
      ...[result.model, String(result.batch), result.precision],
      ours ? formatRate(ours.imagesPerSecond) : '-',
      ...COMPARED.flatMap(([name]) => comparisonCells(found(name))),
      deviceMemory(ours?.devicePeakBytes),
      deviceMemory(eager && !('unavailable' in eager) ? eager.theirs.devicePeakBytes : undefined),
      host === null ? '-' : `${host.toFixed(2)} of ${ours!.medianMilliseconds.toFixed(2)}`,
      ours && peak ? formatPercent(ours.gflops / peak.gflops) : '-',
    ];
  });
  const reasons = peers.flatMap(({ model, batch, precision, rows }) =>
    rows.flatMap((row) =>
      'unavailable' in row
        ? [`${row.peer}, ${model}, batch ${batch}, ${precision}: ${row.unavailable}.`]
        : [],
    ),
  );
  const python = peers.find(({ python }) => python)?.python;
  return [
    '## Training step beside PyTorch',
    `Batch assembly, forward, backward and update; torch ${python?.torch ?? '?'}, channels_last; medians of n = ${peers[0].n} ` +
      'alternating pairs, the ratio that of the times within pairs. Device memory is what the allocators reserved at most.',
    'On both sides a batch is assembled inside the clock. Ours is part of the CUDA graph that is a step, where a step is one; ' +
      "PyTorch's is launched operation by operation before its graph is replayed (CUDA graph: forward, loss, backward and update; " +
      "torch.compile, reduce-overhead: the model's passes; its default mode has no graph).",
    table(columns, rows),
    ...(peaks.length > 0
      ? [peaks.map(({ gflops, source }) => `Peak: ${gflops.toFixed(0)} GFLOP/s, ${source}.`).join('\n')]
      : []),
    ...(reasons.length > 0 ? [reasons.join('\n')] : []),
  ];
}

function comparisonCells(row: PeerRow | undefined): readonly string[] {
  if (!row) return ['-', '-'];
  if ('unavailable' in row) return [row.outOfMemory ? 'out of memory' : 'failed', '-'];
  return [formatRate(row.theirs.imagesPerSecond), `${row.ratio.median.toFixed(2)} x`];
}

const deviceMemory = (peak: { readonly reservedPeak: number } | null | undefined): string =>
  peak ? formatBytes(peak.reservedPeak) : '-';

function manySection({ many }: GpuResults): readonly string[] {
  if (many.length === 0) return [];
  const rows = many.flatMap(({ model, batch, precision, rows }) =>
    rows.map(({ runs, imagesPerSecond, gain, devicePeakBytes }) => [
      ...[model, String(batch), precision, String(runs), formatRate(imagesPerSecond.median)],
      ...[`${gain.toFixed(2)} x`, deviceMemory(devicePeakBytes)],
    ]),
  );
  const columns = ['model', 'batch', 'precision', 'runs', 'images/s', 'gain', 'device memory'];
  return [
    '## Several runs at once',
    `All of them together, each a process; median of n = ${many[0].n}.`,
    table(columns, rows),
  ];
}

function paritySection({ parity }: GpuResults): readonly string[] {
  if (!parity) return [];
  const rows = parity.rows.map(({ model, precision, ours, theirs, limit, fine, whole }) => [
    ...[model, precision],
    ...[ours, theirs, limit].map((error) => error.toExponential(1)),
    fine ? 'yes' : 'NO',
    ...[whole.ours, whole.theirs].map((error) => error.toExponential(1)),
  ]);
  return [
    '## Gradients',
    `Relative L2 distance from PyTorch in float64, of narrow models, batch ${parity.batch}: in float32 of the whole gradient, in ` +
      "another precision of the last layer's, which depends on the whole forward pass and the loss. There the whole " +
      "gradient's is for information: rounding decides too many ReLUs, PyTorch's too.",
    table(
      ['model', 'precision', 'gradamp', 'PyTorch', 'allowed', 'fine', 'whole, gradamp', 'whole, PyTorch'],
      rows,
    ),
  ];
}

function restSection({ analysis, run, tests }: GpuResults): readonly string[] {
  const lines: string[] = [];
  if (tests) {
    const { passed, failed, skipped } = tests;
    lines.push(
      `- Tests: ${passed} passed, ${failed.length} failed, ${skipped} skipped.`,
      ...failed.map((name) => `  - FAILED: ${name}`),
    );
  }
  if (analysis) {
    const { model, batch, precision, ratio, n } = analysis;
    lines.push(
      `- An analysis epoch takes ${ratio.median.toFixed(3)} times a plain one (${ratio.smallest.toFixed(3)} to ` +
        `${ratio.largest.toFixed(3)}, n = ${n} pairs; ${model}, batch ${batch}, ${precision}).`,
    );
  }
  if (run) {
    const { epochs, seconds, imagesPerSecond, finalTestAccuracy } = run;
    lines.push(
      `- resnet18 on synthetic data, phases as params1, ${epochs} epochs: ${seconds.toFixed(0)} s, ` +
        `${imagesPerSecond === null ? '-' : formatRate(imagesPerSecond)} images/s, final test accuracy ${formatPercent(finalTestAccuracy)}.`,
    );
  }
  return lines.length > 0 ? ['## Besides', lines.join('\n')] : [];
}

const table = (columns: readonly string[], rows: readonly (readonly string[])[]): string =>
  [columns, columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
