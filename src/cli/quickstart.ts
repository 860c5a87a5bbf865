// `gradamp quickstart`: the same short run twice, once as it is and once amplified, and what came of both.

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { readDatasetDescription } from '../data/cifar.ts';
import { synthesize } from '../data/synthetic.ts';
import { UsageError } from '../errors.ts';
import { fromPackage } from '../package-root.ts';
import type { TrainResult } from '../parallel/coordinator.ts';
import { formatDuration, formatPercent } from './format.ts';
import { formatTable } from './table.ts';
import { trainShown } from './train.ts';

const CONFIG = fromPackage('configs', 'quickstart.yaml');
/** Not runs/quickstart, where `train configs/quickstart.yaml` writes. */
const DIRECTORY = 'runs/quickstart-comparison';
/** Easier than the default, so that a few epochs show something. */
const DATA = { train: 1600, test: 500, difficulty: 0.3 };

const VARIANTS = [
  { name: 'original', set: ['amplification=none'] },
  { name: 'amplified', set: [] },
];

export function quickstartCommand(): Command {
  return new Command('quickstart')
    .description('train a small network on synthetic data twice, original and amplified, in a few minutes')
    .option('--json', 'print both summaries as JSON; everything else goes to standard error')
    .action(({ json }: { json?: boolean }) => quickstart(json));
}

async function quickstart(json = false): Promise<void> {
  const output = json ? process.stderr : process.stdout;
  const { dataDir, dataset, seed } = loadConfig(CONFIG);
  const print = (line: string) => output.write(`${line}\n`);
  if (isNewOrEmpty(dataDir)) {
    print(`data: synthesising ${DATA.train} training and ${DATA.test} test images into ${dataDir}`);
    await synthesize({ dataset, directory: dataDir, seed, ...DATA });
  } else {
    // Throws where there is no data set in it.
    await readDatasetDescription(dataset, dataDir);
    print(`data: ${dataDir} (already there)`);
  }
  for (const { name } of VARIANTS) removeEarlierRun(`${DIRECTORY}/${name}`, dataDir);
  const results: TrainResult[] = [];
  for (const { name, set } of VARIANTS) {
    const directory = `${DIRECTORY}/${name}`;
    print(`\n${name}: ${directory}`);
    const result = await trainShown(loadConfig(CONFIG, { set }), { directory, output });
    if (result.summary.stopped) return;
    results.push(result);
  }
  print(`\n${comparison(results)}\n`);
  print('The data are synthetic: these accuracies say nothing about CIFAR.');
  print(
    `Files: ${DIRECTORY}/{${VARIANTS.map(({ name }) => name).join(',')}}/ with config.yaml, metrics.jsonl,`,
  );
  print(
    'selections.jsonl (every layer with G, Gprime and z), TensorBoard events, summary.json, checkpoint.msgpack',
  );
  if (!json) return;
  const runs = results.map(({ summary }) => ({ directory: `${DIRECTORY}/${summary.name}`, ...summary }));
  process.stdout.write(`${JSON.stringify({ runs }, null, 2)}\n`);
}

function isNewOrEmpty(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/**
 * The quickstart may be repeated. A run of it is known by the data folder in its config.
 *
 * @throws UsageError where anything else is in its place.
 */
function removeEarlierRun(directory: string, dataDir: string): void {
  if (isNewOrEmpty(directory)) return;
  const config = join(directory, 'config.yaml');
  const text = existsSync(config) ? readFileSync(config, 'utf8') : '';
  if (!text.split('\n').includes(`dataDir: ${dataDir}`)) {
    throw new UsageError(
      `${directory}: expected no folder, or the run of an earlier quickstart, found something else; move it away`,
    );
  }
  rmSync(directory, { recursive: true });
}

function comparison(results: readonly TrainResult[]): string {
  const rows = results.map(({ summary, selections }, index) => [
    VARIANTS[index].name,
    formatPercent(summary.finalTestAccuracy),
    formatPercent(summary.best?.testAccuracy ?? null),
    formatDuration(summary.seconds),
    selections
      .map(
        ({ epoch, layers }) =>
          `${epoch}: ${layers.filter(({ chosen }) => chosen).length} of ${layers.length}`,
      )
      .join(', ') || '-',
  ]);
  const columns = [
    { title: 'run' },
    { title: 'final test acc', align: 'right' },
    { title: 'best', align: 'right' },
    { title: 'time', align: 'right' },
    { title: 'layers chosen, by epoch' },
  ] as const;
  const names = results.flatMap(({ selections }) =>
    selections.map(({ epoch, layers }) => {
      const chosen = layers.filter((layer) => layer.chosen).map(({ name }) => name);
      return `  epoch ${epoch}: ${chosen.join(' ') || 'none'}`;
    }),
  );
  return [formatTable(columns, rows), '', 'Layers chosen:', ...names].join('\n');
}
