// `gradamp bench step`: the speed of training steps, and where their time goes.

import { Command } from 'commander';
import type { Profile, ProfileRow } from '../../bench/profile.ts';
import type { StepOptions, StepResult } from '../../bench/step.ts';
import { wholeNumber } from './arguments.ts';
import {
  addMeasuredOptions,
  addOutputOptions,
  describeMeasured,
  formatDeviceMemory,
  formatMilliseconds,
  nameMeasured,
  type OutputOptions,
  reportProgress,
  tell,
} from './bench-options.ts';
import { formatBytes, formatPercent, formatRate } from './format.ts';
import { type Column, formatTable } from './table.ts';

type StepCommandOptions = StepOptions & OutputOptions & { readonly profile?: string };
type ProfiledResult = StepResult & { readonly profile?: Profile };

export function benchStepCommand(): Command {
  const command = new Command('step')
    .description('time training steps: images/s, GFLOP/s and their share of a measured peak, memory')
    .option('--samples <n>', 'measurements, whose median is told', wholeNumber(1), 5)
    .option(
      '--steps <n>',
      'steps in a measurement (default: as many as 1 s holds, on a GPU 0.3 s)',
      wholeNumber(1),
    )
    .option(
      '--python <program>',
      "a Python with torch, which measures engine torch's peak (default: the first found)",
    )
    .option(
      '--profile <file>',
      "also time every operation of one worker's share; write a trace for Perfetto there",
    );
  return addOutputOptions(addMeasuredOptions(command)).action(
    async ({ json, save, profile: file, ...options }: StepCommandOptions) => {
      // Loaded only now, as in `train`: tfjs takes its time.
      const { benchStep } = await import('../../bench/step.ts');
      const result = await benchStep(options, reportProgress);
      const profile = file === undefined ? undefined : await profileTo(file, options);
      await tell(nameMeasured('step', result), { ...result, ...(profile && { profile }) }, describeStep, {
        json,
        save,
      });
    },
  );
}

const PROFILED_STEPS = 5;

async function profileTo(file: string, options: StepOptions): Promise<Profile> {
  const { chromeTrace, profileSteps, writeTrace } = await import('../../bench/profile.ts');
  const { measuredConfig } = await import('../../bench/measured.ts');
  const { profile, timings } = await profileSteps(measuredConfig(options), options.steps ?? PROFILED_STEPS);
  writeTrace(file, chromeTrace(timings, `${options.model}, ${profile.images} images, ${profile.engine}`));
  reportProgress(`trace: ${file}; open it at ui.perfetto.dev`);
  return profile;
}

function describeStep(result: ProfiledResult): string {
  const { engine, n, speed, peak, share, profile, devices } = result;
  const onGpu = devices[0] !== 'cpu';
  const host = speed.medianHostMilliseconds;
  const hostTime = host === null ? '-' : formatMilliseconds(host);
  const columns: Column[] = [
    { title: 'ms/step', align: 'right' },
    { title: 'images/s', align: 'right' },
    { title: 'GFLOP/s', align: 'right' },
    { title: 'peak', align: 'right' },
    { title: 'share', align: 'right' },
    { title: 'peak memory', align: 'right' },
    ...(onGpu
      ? ([
          { title: 'on the device', align: 'right' },
          { title: 'host ms/step', align: 'right' },
        ] as const)
      : []),
  ];
  const row = [
    formatMilliseconds(speed.medianMilliseconds),
    formatRate(speed.imagesPerSecond),
    speed.gflops.toFixed(1),
    peak ? peak.gflops.toFixed(1) : '-',
    formatPercent(share),
    formatBytes(speed.peakBytes),
    ...(onGpu ? [formatDeviceMemory(speed.devicePeakBytes), hostTime] : []),
  ];
  return [
    `Training step: ${describeMeasured(result)}, ${engine}.`,
    `Data assembly, forward, backward, barriers and update; median of n = ${n} times ${speed.stepsPerSample} steps.`,
    '',
    formatTable(columns, [row]),
    '',
    `peak: ${peak?.source ?? 'not measured: no Python with torch; name one with --python'}.`,
    ...(profile ? [describeProfile(profile)] : []),
  ].join('\n');
}

const SHOWN_ROWS = 25;

function describeProfile({ images, n, millisecondsPerStep, operations, layers }: Profile): string {
  const table = (title: string, rows: readonly ProfileRow[]) => {
    const columns: Column[] = [
      { title },
      ...['calls', 'forward ms', 'backward ms', 'update ms', 'total ms', 'share'].map(
        (title): Column => ({ title, align: 'right' }),
      ),
    ];
    const cells = rows
      .slice(0, SHOWN_ROWS)
      .map((row) => [
        row.name,
        String(row.calls),
        ...[row.forward, row.backward, row.update, row.total].map((time) =>
          time === 0 ? '-' : time.toFixed(2),
        ),
        formatPercent(row.share),
      ]);
    const hidden = rows.length - cells.length;
    return formatTable(columns, cells) + (hidden > 0 ? `\n... and ${hidden} more: see --json` : '');
  };
  return [
    '',
    `Profile of one worker alone, ${images} images: ${formatMilliseconds(millisecondsPerStep)} ms a step, mean of n = ${n}.`,
    '',
    table('operation', operations),
    '',
    table('layer', layers),
    '',
  ].join('\n');
}
