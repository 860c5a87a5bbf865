// `gradamp bench step`: the speed of training steps as `gradamp train` takes them, data assembly, barriers and update
// included, in a process of its own.

import { type Measured, type MeasuredOptions, measuredConfig, measuredOf } from './measured.ts';
import { measurePeak, type Peak } from './peak.ts';
import { findTorchPython } from './python.ts';
import { type Sample, type Speed, speedOf, startTraining, warmUp, workOf } from './training.ts';

export interface StepOptions extends MeasuredOptions {
  readonly samples: number;
  /** In a sample; without it as many as a second holds, on a GPU 0.3 s. */
  readonly steps?: number;
  readonly python?: string;
}

export interface StepResult extends Measured {
  readonly engine: string;
  /** Samples. */
  readonly n: number;
  readonly speed: Speed;
  /** Null where nothing could measure it. */
  readonly peak: Peak | null;
  /** Of the peak, 0..1. */
  readonly share: number | null;
}

/**
 * @param report called after each sample with a line of progress.
 * @throws UsageError as `gradamp train`.
 */
export async function benchStep(options: StepOptions, report: (line: string) => void): Promise<StepResult> {
  const config = measuredConfig(options);
  // Told before anything is measured.
  if (options.python !== undefined) findTorchPython(options.python);
  const training = await startTraining(config);
  try {
    const { engine } = training.introduction;
    const { sample, steps } = await warmUp(training, config, options.steps);
    const samples: Sample[] = [];
    for (let i = 1; i <= options.samples; i++) {
      samples.push(await sample());
      report(`sample ${i} of ${options.samples}: ${samples[i - 1].millisecondsPerStep.toFixed(1)} ms/step`);
    }
    await training.end();
    // Other engines than tfjs compute with libtorch, and so does Python's torch.
    const python = engine.name === 'tfjs' ? undefined : findTorchPython(options.python);
    const peak = (await measurePeak(config, engine.name, python)) ?? null;
    const speed = speedOf(samples, steps, workOf(config));
    return {
      ...measuredOf(config),
      engine: engine.description,
      n: options.samples,
      speed,
      peak,
      share: peak && speed.gflops / peak.gflops,
    };
  } finally {
    await training.end();
  }
}
