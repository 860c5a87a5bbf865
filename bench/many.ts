// `gradamp bench many`: several small runs at once on one machine, each a process of its own, as a sweep has them. One
// small run leaves most of a GPU idle.

import type { DeviceMemory } from '../src/engines/engine.ts';
import { type Measured, type MeasuredOptions, measuredConfig, measuredOf } from './measured.ts';
import { type Spread, spreadOf } from './statistics.ts';
import { startTraining, type TrainingAnswer, warmUp, workOf } from './training.ts';

export interface ManyOptions extends MeasuredOptions {
  /** How many at once, one after the other. */
  readonly runs: readonly number[];
  readonly samples: number;
  /** Of each run in a sample; without it as many as one alone takes in a second, on a GPU in 0.3 s. */
  readonly steps?: number;
}

export interface ManyRow {
  readonly runs: number;
  /** Of all runs together, over the samples. */
  readonly imagesPerSecond: Spread;
  /** Over that of the first row. */
  readonly gain: number;
  /** Of all processes. */
  readonly peakBytes: number;
  readonly devicePeakBytes: DeviceMemory | null;
}

export interface ManyResult extends Measured {
  readonly engine: string;
  /** Samples. */
  readonly n: number;
  /** Of each run in a sample. */
  readonly steps: number;
  readonly rows: readonly ManyRow[];
}

/**
 * @param report called after each sample with a line of progress.
 * @throws UsageError as `gradamp train`.
 */
export async function benchMany(options: ManyOptions, report: (line: string) => void): Promise<ManyResult> {
  const config = measuredConfig(options);
  const { images } = workOf(config);
  let [engine, steps] = ['', options.steps];
  const measure = async (runs: number): Promise<Omit<ManyRow, 'gain'>> => {
    const starts = Array.from({ length: runs }, () => startTraining(config));
    const started = await Promise.allSettled(starts);
    const group = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    try {
      await Promise.all(starts);
      engine = group[0].introduction.engine.description;
      // Each alone, so that the number of steps is that of one run.
      for (const run of group) steps = (await warmUp(run, config, steps)).steps;
      const rates: number[] = [];
      let answers: readonly TrainingAnswer[] = [];
      for (let sample = 1; sample <= options.samples; sample++) {
        const began = performance.now();
        answers = await Promise.all(group.map((run) => run.ask({ kind: 'steps', steps: steps! })));
        rates.push((1000 * runs * steps! * images) / (performance.now() - began));
        report(
          `${runs} at once, sample ${sample} of ${options.samples}: ${rates[sample - 1].toFixed(0)} images/s`,
        );
      }
      return { runs, imagesPerSecond: spreadOf(rates), ...memoryOf(answers) };
    } finally {
      await Promise.all(group.map((run) => run.end()));
    }
  };
  const rows: ManyRow[] = [];
  for (const runs of options.runs) {
    const row = await measure(runs);
    const [first = row] = rows;
    rows.push({ ...row, gain: row.imagesPerSecond.median / first.imagesPerSecond.median });
  }
  return { ...measuredOf(config), engine, n: options.samples, steps: steps!, rows };
}

/** Peaks do not fall: those of the last answers hold. */
function memoryOf(answers: readonly TrainingAnswer[]): Pick<ManyRow, 'peakBytes' | 'devicePeakBytes'> {
  const devices = answers.flatMap(({ devicePeakBytes }) => devicePeakBytes ?? []);
  const sum = (key: keyof DeviceMemory) => devices.reduce((sum, memory) => sum + memory[key], 0);
  return {
    peakBytes: answers.reduce((sum, { peakBytes }) => sum + peakBytes, 0),
    devicePeakBytes:
      devices.length < answers.length
        ? null
        : { allocatedPeak: sum('allocatedPeak'), reservedPeak: sum('reservedPeak') },
  };
}
