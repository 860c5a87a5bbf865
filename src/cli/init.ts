// `gradamp init`: a commented config to start from.

import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { UsageError } from '../errors.ts';

/** Where `gradamp config schema` is expected to have been written, beside the config. */
const SCHEMA_FILE = 'gradamp.schema.json';

export function initCommand(): Command {
  return new Command('init')
    .description('write a commented config to start from; never replaces a file')
    .argument('[file]', 'the new file', 'gradamp.yaml')
    .option('--json', 'print JSON')
    .action((file: string, { json }: { json?: boolean }) => {
      const schema = existsSync(join(dirname(file), SCHEMA_FILE));
      writeNew(file, startingConfig(schema));
      const text = json
        ? JSON.stringify({ file, schema }, null, 2)
        : `${file} written; check it with \`gradamp train ${file} --dry-run\`, get its data with \`gradamp data download cifar10\``;
      process.stdout.write(`${text}\n`);
    });
}

function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, text, { flag: 'wx' });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      EEXIST: 'is there already; expected the name of a new file',
      ENOENT: 'cannot be written; expected a name in a folder that is there',
      ENOTDIR: 'cannot be written; expected a name in a folder that is there',
      EACCES: 'may not be written; check the permissions of its folder',
    };
    throw new UsageError(`${file}: ${reasons[code ?? ''] ?? `cannot be written (${message})`}`);
  }
}

/** Lines that begin with `#` and no blank are keys that may be switched on. */
export function startingConfig(withSchema: boolean): string {
  return (withSchema ? `# yaml-language-server: $schema=${SCHEMA_FILE}\n` : '') + TEXT;
}

const TEXT = `# A gradamp config. \`gradamp train <this file> --dry-run\` shows what it means, every default included;
# \`--set key=value\` overrides a key for one run. Lines like #clipNorm: 1 are off; remove the # to switch them on.

# The name of the run's folder below runs/; without it that of this file.
#name: my-run

# vgg19, resnet18, resnet34, resnet50, resnet101, resnet8 or resnet20 (\`gradamp models\`); { name: resnet18, width: 0.5 }
# has half as many channels.
model: resnet20

# cifar10 or cifar100, and the folder with its binary files (\`gradamp data download cifar10\`).
dataset: cifar10
dataDir: data/cifar10
# Training images held out, as many of each class, to choose the best epoch by: best.msgpack keeps its weights.
#validation: 5000

# What computes (\`gradamp doctor\` tells what loads here), and one worker thread for each device.
engine: auto
backend: wasm
devices: [cpu, cpu]
# Of the engine torch: threads of each worker; without it the processors are shared evenly.
#threads: 1
# On GPUs (devices: [cuda:0]) also tf32 or bfloat16, which are faster and less precise.
precision: float32
# Of GPUs: whether a step is recorded and replayed (auto, on, off), and how several add up their gradients (auto, nccl,
# shared-memory).
#cudaGraph: off
#collective: shared-memory
# Refuse what could give other bits for the same config; GPUs then take slower algorithms that do not.
#deterministic: true

# Images a step, over all workers. They are computed in passes of microBatch, over which batch norm takes its
# statistics: the result then does not depend on the number of workers. Nor does it where batch norm takes them over the
# shares of all workers: "syncBatchNorm: true" in place of microBatch.
batchSize: 128
microBatch: 64
# Batches whose gradients are averaged for one step.
#accumulate: 2

# Stochastic gradient descent.
momentum: 0.9
weightDecay: 5.0e-4
#nesterov: true
#resetMomentum: true
#clipNorm: 1
# A learning rate for each weight tensor by the norms of its weights and gradient; schedules for it start far higher.
#lars: { trust: 0.001 }
#labelSmoothing: 0.1

# Phases: [last epoch, learning rate, amplify, factor]. The first epoch of an amplifying phase is its analysis: it is
# trained plainly, and at its end layers are chosen whose gradients are multiplied by the factor from then on.
schedule:
  - [20, 0.1, false, 1]
  - [40, 0.1, true, 2] #   epoch 21 is the analysis
  - [55, 0.01, true, 2] #  epoch 41 is the analysis
  - [60, 0.01, false, 1]

# A curve over all epochs in place of the phases' rates: cosine or one-cycle, its warm-up in epochs.
#learningRate: { policy: cosine, peak: 0.1, warmup: 5 }

# How layers are chosen; \`amplification: none\` trains the original model.
amplification:
  # G, eq. (4) of the paper, or Gprime, eq. (7): how well a layer's gradient keeps its direction.
  measure: G
  # 1: layers whose z-score is above the threshold. 2: also those below minus the threshold.
  case: 1
  threshold: 1.5
  # Once a phase, or anew every so many epochs.
  reselect: phase
  # threshold, or a control to compare with: random, inverted, all.
  selection: threshold
  # What becomes of them: amplify by the phase's factor, or freeze (with apply: learning-rate), or continuous: a factor
  # for every layer from its z-score (with selection: all).
  response: amplify
  # What is multiplied: the weight gradient, the learning-rate, or backpropagated: what arrives at a layer's output.
  apply: gradient

# Weights, order of the images, crops and flips, random selections and the images held out follow from it; one of them
# from a seed of its own: weights, order, augmentation, selection or validation.
seed: 0
#seeds: { order: 1 }
`;
