// `gradamp doctor`: what this machine has, which engines and backends load, and which data there are.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { DATASET_NAMES } from '../config/schema.ts';
import { locateSets, look, readDatasetDescription } from '../data/cifar.ts';
import type { DatasetName } from '../data/dataset.ts';
import { inspectNative, nativeDevices } from '../engines/torch/load.ts';
import { type EngineProbe, probeEngines } from './engines.ts';
import { formatBytes, formatCount } from './format.ts';
import { describeGpus, findGpus } from './gpus.ts';
import { describeMachine, type Machine } from './machine.ts';
import { formatTable } from './table.ts';

interface DataFolder {
  readonly folder: string;
  /** Null where that cannot be told. */
  readonly dataset: string | null;
  /** Null of the real data, and where there is a problem. */
  readonly synthetic: { readonly train: number; readonly test: number; readonly seed: number } | null;
  /** Why it cannot be read. */
  readonly problem: string | null;
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('tell what this machine has and which engines load')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const machine = describeMachine();
      const data = await findData('data');
      if (json) {
        const engines = await probeEngines();
        const gpus = findGpus(inspectNative(), nativeDevices);
        process.stdout.write(`${JSON.stringify({ machine, engines, gpus, data }, null, 2)}\n`);
        return;
      }
      // The engines take some seconds.
      process.stdout.write(`${describe(machine)}\n\n`);
      process.stdout.write(`${describeEngines(await probeEngines())}\n\n`);
      process.stdout.write(`${describeGpus(findGpus(inspectNative(), nativeDevices))}\n\n`);
      process.stdout.write(`${describeData(data)}\n`);
    });
}

function describe(machine: Machine): string {
  const { node, nodeProblem, memory, vectorInstructions, wasmSimd, gpus, nvidiaDriver } = machine;
  const vectors = [...vectorInstructions, ...(wasmSimd ? ['WebAssembly SIMD'] : [])];
  const rows = [
    ['Node', `${node}, ${nodeProblem ?? 'supported'}`],
    ['system', machine.system],
    ['processor', `${machine.processor}, ${machine.cores} cores`],
    ['vectors', vectors.join(', ') || 'unknown'],
    ['memory', `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free`],
    ['NVIDIA GPUs', gpus.join(', ') || 'none'],
    ['NVIDIA driver', nvidiaDriver ?? 'none'],
  ];
  return formatTable([{ title: 'machine' }, { title: '' }], rows);
}

function describeEngines(probes: readonly EngineProbe[]): string {
  const columns = [{ title: 'engine' }, { title: 'loads' }, { title: '' }];
  const rows = probes.map((probe) => [
    probe.name,
    probe.loads ? 'yes' : 'no',
    probe.loads ? probe.description : probe.reason,
  ]);
  return formatTable(columns, rows);
}

function describeData(folders: readonly DataFolder[]): string {
  if (folders.length === 0) return 'data: none in ./data; `gradamp data synthesize` makes a synthetic set';
  const rows = folders.map(({ folder, dataset, synthetic, problem }) => [
    folder,
    dataset ?? '?',
    problem ?? (synthetic ? describeSynthetic(synthetic) : 'real'),
  ]);
  return formatTable([{ title: 'data folder' }, { title: 'data set' }, { title: '' }], rows);
}

const describeSynthetic = ({ train, test, seed }: NonNullable<DataFolder['synthetic']>) =>
  `synthetic, ${formatCount(train)} + ${formatCount(test)} images, seed ${seed}`;

/** The folders in `parent` that hold a data set or cannot be read; the data files themselves are not read. */
export async function findData(parent: string): Promise<readonly DataFolder[]> {
  const found: DataFolder[] = [];
  const problemOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
  const names = await readdir(parent).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') {
      found.push({ folder: parent, dataset: null, synthetic: null, problem: problemOf(error) });
    }
    return [];
  });
  for (const name of names.sort()) {
    const folder = join(parent, name);
    let dataset: DatasetName | null = null;
    try {
      if (!(await look(folder))?.isDirectory()) continue;
      for (const candidate of DATASET_NAMES) {
        if ((await locateSets(candidate, folder)).length === 0) continue;
        dataset = candidate;
        const synthetic = (await readDatasetDescription(candidate, folder)) ?? null;
        found.push({ folder, dataset, synthetic, problem: null });
      }
    } catch (error) {
      found.push({ folder, dataset, synthetic: null, problem: problemOf(error) });
    }
  }
  return found;
}
