// `gradamp train <config> --dry-run`: what a run would do and need, found out as training does it, with nothing
// trained and nothing written.

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FROZEN } from '../amplification/freezing.ts';
import type { ConfigChange } from '../config/changes.ts';
import { configDocument } from '../config/load.ts';
import { documentOf } from '../config/resolve.ts';
import type { AmplificationSettings, Config } from '../config/schema.ts';
import type { Seeds } from '../config/seeds.ts';
import { readCifar } from '../data/cifar.ts';
import { describeLayout } from '../data/layout.ts';
import { largestPass, stepCount } from '../data/sampling.ts';
import { chooseEngine } from '../engines/index.ts';
import { UsageError } from '../errors.ts';
import { candidateNoun, candidatesOf } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';
import { buildModel } from '../models/index.ts';
import { estimatePassBytes, summarise, trainingFlops } from '../models/summary.ts';
import { type Collective, collectiveOf } from '../parallel/collective.ts';
import { deviceBytes, elementBytesOf } from '../parallel/device-memory.ts';
import { outline } from '../parallel/outline.ts';
import { checkOrigin, describePlace, findOrigin } from '../parallel/resumption.ts';
import { checkpointBytes, checkSizes, trainedImages, trainingNeeds } from '../parallel/sizes.ts';
import { storeBytes } from '../parallel/store.ts';
import { learningRateOf } from '../training/learning-rate.ts';
import type { EpochPhase } from '../training/reporter.ts';
import { RunDirectory } from '../training/run-directory.ts';
import { formatBytes, formatCount, formatMacs, formatNumberOf } from './format.ts';
import { paint } from './paint.ts';
import { formatTable } from './table.ts';
import { axis, epochColumns, isActing, PHASE_BLOCKS, shownPhases, timeline } from './timeline.ts';

/** First and last, from 1. */
type EpochRange = readonly [first: number, last: number];

/** One entry of the schedule, and what it makes of its epochs. */
export interface PlannedPhase {
  readonly epochs: EpochRange;
  /** Of its first and of its last step, and the highest of all. */
  readonly learningRate: readonly [first: number, last: number];
  readonly peakLearningRate: number;
  /** Of the chosen layers, and with response `continuous` the largest; 1 where nothing is changed. */
  readonly factor: number;
  /** The epochs at whose end layers are chosen. */
  readonly analyses: readonly number[];
  /** The epochs in which a choice is on, where there is one. */
  readonly acting: EpochRange | null;
}

/** `--json` prints it. */
export interface RunPlan {
  /** As a config file would have it, every default filled in. */
  readonly config: Record<string, unknown>;
  /** The one that `auto` stands for here. */
  readonly engine: 'tfjs' | 'torch';
  /** Of a run that would go on in spite of them. */
  readonly warnings: readonly string[];
  readonly directory: string;
  /** What a run that is gone on with has behind it; null of a new one. */
  readonly goesOn: {
    readonly epoch: number;
    readonly step: number;
    readonly file: string;
    readonly changes: readonly ConfigChange[];
  } | null;
  readonly data: {
    readonly folder: string;
    /** Those that are held out are not among them. */
    readonly trainingImages: number;
    readonly validationImages: number;
    readonly synthetic: boolean | null;
    /** Why the folder's data could not be checked; the sizes are then those of the official set. */
    readonly missing: string | null;
  };
  /** Of what is drawn. */
  readonly seeds: Seeds;
  readonly epochs: readonly EpochPhase[];
  readonly phases: readonly PlannedPhase[];
  /** Null where nothing is amplified. */
  readonly candidates: number | null;
  readonly layers: number;
  readonly parameters: number;
  /** Of one image, forward. */
  readonly macs: number;
  /** Of the whole run, without evaluation. */
  readonly trainingFlops: number;
  /** How the workers' gradients come together. */
  readonly collective: Collective;
  readonly memory: PlannedMemory;
}

interface PlannedMemory {
  /** Weights, momentum, gradients and accumulators, shared by the workers. */
  readonly storeBytes: number;
  /** Of the copies that checkpoints are written from, at most. */
  readonly checkpointBytes: number;
  /** Estimated for the largest pass of one worker. */
  readonly passBytes: number;
  readonly passSize: number;
  /** Of the machine; what GPUs compute lies in their own. */
  readonly totalBytes: number;
  /** Of each GPU, with all that its workers have there. */
  readonly gpus: readonly { readonly device: string; readonly bytes: number }[];
}

/**
 * Checks everything that `train` checks before its first step.
 * @throws UsageError as `train`, but not where there are no data yet.
 */
export async function planRun(config: Config, directory: string, from?: 'folder'): Promise<RunPlan> {
  const { engine, warnings } = chooseEngine(config);
  if (!from) RunDirectory.check(directory);
  const origin = await findOrigin(from, directory);
  const data = await lookAtData(config);
  const graph = buildModel({ ...config.model, classes: data.classes });
  const size = { train: { size: data.trainingSplit } };
  checkSizes(config, engine, size, graph, { checkpoints: true });

  const { epochs } = outline(config, size, directory);
  const { rows, parameters, macs } = summarise(graph);
  const { batchSize, accumulate } = config;
  const { folder, synthetic, missing } = data;
  const trainingImages = trainedImages(config, size);
  return {
    config: documentOf(config),
    engine,
    warnings,
    directory,
    goesOn: origin ? checkOrigin(origin, config) : null,
    data: { folder, trainingImages, validationImages: config.validation, synthetic, missing },
    seeds: config.seeds,
    epochs: epochs.map(({ phase }) => phase),
    phases: plannedPhases(config, epochs, stepCount(trainingImages, batchSize * accumulate)),
    candidates: config.amplification === 'none' ? null : candidatesOf(config, graph).length,
    layers: rows.length,
    parameters,
    macs,
    trainingFlops: trainingFlops(graph) * trainingImages * epochs.length,
    collective: collectiveOf(config),
    memory: planMemory(config, graph, data.trainingSplit),
  };
}

/** @param images of the training split. */
export function planMemory(config: Config, graph: Graph, images: number): PlannedMemory {
  const { batchSize, microBatch, devices, precision } = config;
  const passSize = largestPass({ batch: batchSize, worldSize: devices.length, microBatch });
  const store = storeBytes(graph, config);
  const copies = checkpointBytes(graph, config);
  const passBytes = Math.ceil(estimatePassBytes(graph, passSize, elementBytesOf(precision)));
  const onGpus = devices[0] !== 'cpu';
  const gpus = onGpus ? deviceBytes(graph, passSize, trainingNeeds(config, images)) : [];
  return {
    storeBytes: store,
    checkpointBytes: copies,
    passBytes,
    passSize,
    totalBytes: store + copies + (onGpus ? 0 : devices.length * passBytes),
    gpus: [...gpus].map(([device, bytes]) => ({ device, bytes })),
  };
}

async function lookAtData({ dataset, dataDir }: Config) {
  const layout = describeLayout(dataset);
  try {
    const { train, classes, synthetic } = await readCifar(dataset, dataDir);
    return { folder: dataDir, trainingSplit: train.size, classes, synthetic, missing: null };
  } catch (error) {
    if (!(error instanceof UsageError) || !isWithoutData(dataDir, layout)) throw error;
    const trainingSplit = layout.files.train.length * layout.officialRecords.train;
    const { classes } = layout.labels[layout.target];
    return { folder: dataDir, trainingSplit, classes, synthetic: null, missing: error.message };
  }
}

/** Whether data may still come there: nothing is, or a folder without any of the set's files. */
function isWithoutData(dataDir: string, { folder, files }: ReturnType<typeof describeLayout>): boolean {
  if (!existsSync(dataDir)) return true;
  const places = [dataDir, join(dataDir, folder)];
  const names = [...files.train, ...files.test];
  return (
    statSync(dataDir).isDirectory() &&
    !places.some((place) => names.some((name) => existsSync(join(place, name))))
  );
}

function plannedPhases(
  config: Config,
  epochs: readonly { readonly phase: EpochPhase }[],
  stepsPerEpoch: number,
): readonly PlannedPhase[] {
  const { schedule } = config;
  return schedule.map(({ endEpoch, learningRate, factor }, index): PlannedPhase => {
    const first = index === 0 ? 1 : schedule[index - 1].endEpoch + 1;
    const held = epochs
      .slice(first - 1, endEpoch)
      .map((epoch, offset) => ({ ...epoch, epoch: first + offset }));
    const rates = held.flatMap(({ epoch }) =>
      Array.from({ length: stepsPerEpoch }, (_, step) =>
        learningRateOf(config, learningRate, { epoch, step, stepsPerEpoch }),
      ),
    );
    const analyses = held.filter(({ phase }) => phase === 'analysis').map(({ epoch }) => epoch);
    const acts = held.find(({ phase }) => isActing(phase))?.phase;
    return {
      epochs: [first, endEpoch],
      learningRate: [rates[0], rates[rates.length - 1]],
      peakLearningRate: rates.reduce((highest, rate) => Math.max(highest, rate)),
      factor: acts === 'frozen' ? FROZEN : acts ? factor : 1,
      analyses,
      acting: acts ? [analyses[0] + 1, endEpoch] : null,
    };
  });
}

const TIMELINE_WIDTH = 75;

/** For people; `colours` for a terminal that has them. */
export function describePlan(plan: RunPlan, config: Config, colours: boolean): string {
  const { epochs, phases, data, memory } = plan;
  const columns = epochColumns(epochs.length, TIMELINE_WIDTH);
  const legend = shownPhases(epochs);
  const [, , acting] = legend;
  const drawing = [timeline(columns, epochs, epochs.length), axis(columns, epochs, 0)];
  const table = formatTable(
    [
      { title: 'phase' },
      { title: 'epochs' },
      { title: 'learning rate' },
      { title: 'factor', align: 'right' },
      { title: 'analyses at the end of' },
      { title: `${acting} epochs` },
    ],
    phases.map((phase, index) => [
      String(index + 1),
      formatRange(phase.epochs),
      formatRates(phase),
      phase.acting ? `${acting === 'scaled' ? 'up to ' : ''}${phase.factor}` : '-',
      formatList(phase.analyses),
      phase.acting ? formatRange(phase.acting) : '-',
    ]),
  );
  const source = data.synthetic ? 'synthetic' : data.missing ? 'official size' : 'found';
  const rows = [
    ['model', `${config.model.name}, ${formatCount(plan.parameters)} parameters, ${plan.layers} layers`],
    ['candidates', plan.candidates === null ? 'none: nothing is amplified' : describeCandidates(plan)],
    ['data', `${describeImages(data)} images (${source})`],
    ['seeds', describeSeeds(plan.seeds)],
    ['compute', `${formatMacs(plan.macs)} MACs/image, ${formatFlops(plan.trainingFlops)} to train`],
    ['workers', describeWorkers(plan.collective, config)],
    ...memoryRows(memory, config),
    ['engine', plan.engine],
    ['folder', plan.directory],
    ...(plan.goesOn ? [['goes on', describeGoesOn(plan.goesOn)]] : []),
  ];
  return [
    configDocument(config),
    ...drawing.map((spans) => paint(spans, colours).trimEnd()),
    legend.map((phase) => `${phase} ${PHASE_BLOCKS[phase]}`).join('  '),
    '',
    table,
    '',
    formatTable([{ title: 'run' }, { title: '' }], rows),
    '',
    ...plan.warnings.map((warning) => `warning: ${warning}`),
    ...(data.missing
      ? [`no data yet: \`gradamp data download ${config.dataset} --out ${data.folder}\` gets them`]
      : []),
    'dry run: nothing was trained or written',
  ].join('\n');
}

/** `2 on cuda:0, cuda:1 in bfloat16; gradients by NCCL`. */
function describeWorkers(collective: Collective, { devices, precision }: Config): string {
  const names = [...new Set(devices)].join(', ');
  const gradients = {
    none: '',
    nccl: '; gradients by NCCL',
    'shared-memory': '; gradients by shared memory',
  };
  return `${devices.length} on ${names} in ${precision}${gradients[collective]}`;
}

function memoryRows(memory: PlannedMemory, config: Config) {
  const { totalBytes, storeBytes, checkpointBytes, passBytes, passSize, gpus } = memory;
  const shared = `${formatBytes(storeBytes)} shared, up to ${formatBytes(checkpointBytes)} for checkpoints`;
  const passes = `${config.devices.length} × ${formatBytes(passBytes)} for passes of ${passSize} images`;
  const total = `about ${formatBytes(totalBytes)}: ${shared}`;
  if (gpus.length === 0) return [['memory', `${total}, ${passes}`]];
  const each = gpus.map(({ device, bytes }) => `${device} about ${formatBytes(bytes)}`).join(', ');
  return [
    ['memory', total],
    ['GPU memory', `${each}: ${passes} among it`],
  ];
}

const describeImages = ({ trainingImages, validationImages }: RunPlan['data']) =>
  validationImages === 0
    ? `${formatCount(trainingImages)} training`
    : `${formatCount(trainingImages)} training and ${formatCount(validationImages)} validation`;

/** `weights 0, order 3, ...`; one number where all are the same. */
function describeSeeds(seeds: Seeds): string {
  const values = new Set(Object.values(seeds));
  if (values.size === 1) return `${seeds.weights} for everything`;
  return Object.entries(seeds)
    .map(([name, seed]) => `${name} ${seed}`)
    .join(', ');
}

const describeCandidates = ({ candidates, config }: RunPlan) => {
  const { pooling } = config.amplification as AmplificationSettings;
  return formatNumberOf(candidates ?? 0, candidateNoun(pooling));
};

/** `0.1`; `0.4 to 0.2`; `0.3 to 0.4 to 0.2` where the rate rises and falls. */
function formatRates({ learningRate: [first, last], peakLearningRate }: PlannedPhase): string {
  const [start, peak, end] = [first, peakLearningRate, last].map((rate) =>
    String(Number(rate.toPrecision(3))),
  );
  return [
    start,
    ...(peak === start || peak === end ? [] : [peak]),
    ...(end === start && peak === start ? [] : [end]),
  ].join(' to ');
}

const formatRange = ([first, last]: EpochRange) => (first === last ? String(first) : `${first}-${last}`);

const FLOP_UNITS = ['MFLOP', 'GFLOP', 'TFLOP', 'PFLOP', 'EFLOP', 'ZFLOP'] as const;

/** `12.5 EFLOP`: floating-point operations. */
function formatFlops(flops: number): string {
  const step = Math.min(Math.max(Math.floor(Math.log10(flops) / 3), 2), FLOP_UNITS.length + 1);
  return `${(flops / 1000 ** step).toFixed(1)} ${FLOP_UNITS[step - 2]}`;
}

/** The first three and the last of many. */
function formatList(epochs: readonly number[]): string {
  if (epochs.length === 0) return '-';
  if (epochs.length <= 5) return epochs.join(', ');
  return `${epochs.slice(0, 3).join(', ')}, ..., ${epochs[epochs.length - 1]} (${epochs.length})`;
}

function describeGoesOn({ file, changes, ...place }: NonNullable<RunPlan['goesOn']>): string {
  const changed = changes.map(({ key }) => key).join(', ');
  return `after ${describePlace(place)} (${file})${changed ? `; changed: ${changed}` : ''}`;
}
