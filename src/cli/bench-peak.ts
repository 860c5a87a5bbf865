// `gradamp bench peak`: the matrix-multiply peak that the share of a step's GFLOP/s is of.

import { Command } from 'commander';
import type { MeasuredOptions } from '../../bench/measured.ts';
import type { Peak } from '../../bench/peak.ts';
import { UsageError } from '../errors.ts';
import {
  addOutputOptions,
  addPlaceOptions,
  addWorkersOption,
  type OutputOptions,
  tell,
} from './bench-options.ts';

type PeakOptions = Pick<MeasuredOptions, 'workers' | 'device' | 'engine' | 'backend' | 'precision'> & {
  readonly python?: string;
};

export function benchPeakCommand(): Command {
  const command = new Command('peak')
    .description('time matrix products by the library that the engine computes with')
    .option('--python <program>', 'a Python with torch, for engine torch (default: the first found)');
  return addOutputOptions(addPlaceOptions(addWorkersOption(command))).action(
    async ({ json, save, python, ...place }: PeakOptions & OutputOptions) => {
      const { measuredConfig } = await import('../../bench/measured.ts');
      const { measurePeak } = await import('../../bench/peak.ts');
      const { findTorchPython, NO_TORCH } = await import('../../bench/python.ts');
      const { workers, device } = place;
      const config = measuredConfig({ model: 'resnet8', width: 1, batch: workers, set: [], ...place });
      const found = config.engine === 'torch' ? findTorchPython(python) : undefined;
      const peak = await measurePeak(config, config.engine, found);
      if (!peak) throw new UsageError(`peak: ${NO_TORCH}`);
      const { precision } = config;
      await tell(`peak ${device} ${precision} workers ${workers}`, { precision, ...peak }, describePeak, {
        json,
        save,
      });
    },
  );
}

const describePeak = ({ gflops, source }: Peak): string => `${gflops.toFixed(1)} GFLOP/s: ${source}.\n`;
