// The matrix-multiply peak that a step's GFLOP/s are a share of: as many processes as the run has workers multiply
// at the same time, each with a worker's threads, by the library that the engine computes with.

import type { Config } from '../src/config/schema.ts';
import { threadsOf } from './measured.ts';
import { pythonCommand, type TorchPython } from './python.ts';
import { type Command, nodeCommand, Subject } from './subject.ts';

export interface Peak {
  readonly gflops: number;
  /** What multiplied what. */
  readonly source: string;
}

/** A process times one product of the two. */
export interface PeakAnswer {
  readonly milliseconds: number;
}

export interface PeakIntroduction {
  readonly description: string;
  readonly flops: number;
}

const ROUNDS = 5;

/** @returns undefined where there is no Python to measure it. */
export async function measurePeak(
  config: Config,
  engine: string,
  python?: TorchPython,
): Promise<Peak | undefined> {
  const { precision } = config;
  const command = (device: string): Command | undefined => {
    if (engine === 'tfjs') return nodeCommand('peak-process', { backend: config.backend, device });
    return python && pythonCommand(python, 'matmul', { threads: threadsOf(config), device, precision });
  };
  const commands = config.devices.map(command);
  if (commands.includes(undefined)) return undefined;
  const starts = commands.map((command) =>
    Subject.start<PeakIntroduction, 'product', PeakAnswer>('matmul', command!),
  );
  const started = await Promise.allSettled(starts);
  const processes = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  try {
    await Promise.all(starts);
    const rounds: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const answers = await Promise.all(processes.map((process) => process.ask('product')));
      rounds.push(
        answers.reduce(
          (sum, { milliseconds }, i) => sum + processes[i].introduction.flops / milliseconds / 1e6,
          0,
        ),
      );
    }
    const [{ introduction }] = processes;
    const together = processes.length > 1 ? `${processes.length} processes at once: ` : '';
    return { gflops: Math.max(...rounds), source: together + introduction.description };
  } finally {
    await Promise.all(processes.map((process) => process.end()));
  }
}
