// `gradamp bench`: how fast training is, against what it could be and against others, and whether memory stays flat.

import { Command } from 'commander';
import { benchAnalysisCommand } from './bench-analysis.ts';
import { benchCheckpointCommand } from './bench-checkpoint.ts';
import { benchLeakCommand } from './bench-leak.ts';
import { benchManyCommand } from './bench-many.ts';
import { benchParityCommand } from './bench-parity.ts';
import { benchPeakCommand } from './bench-peak.ts';
import { benchPeersCommand } from './bench-peers.ts';
import { benchStepCommand } from './bench-step.ts';
import { benchUpdateCommand } from './bench-update.ts';

export function benchCommand(): Command {
  return new Command('bench')
    .description('measure this machine')
    .addCommand(benchStepCommand())
    .addCommand(benchUpdateCommand())
    .addCommand(benchAnalysisCommand())
    .addCommand(benchPeersCommand())
    .addCommand(benchManyCommand())
    .addCommand(benchPeakCommand())
    .addCommand(benchParityCommand())
    .addCommand(benchLeakCommand())
    .addCommand(benchCheckpointCommand());
}
