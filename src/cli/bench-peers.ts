// `gradamp bench peers`: our training step beside PyTorch's and stock tfjs'.

import { Command, InvalidArgumentError } from 'commander';
import type { GradientAgreement } from '../../bench/gradient-check.ts';
import { PEERS, type Peer } from '../../bench/peer-names.ts';
import type { PeersOptions, PeersResult } from '../../bench/peers.ts';
import type { Speed } from '../../bench/training.ts';
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
import { formatBytes, formatRate } from './format.ts';
import { type Column, formatTable } from './table.ts';

export function benchPeersCommand(): Command {
  const command = new Command('peers')
    .description('time the same steps here and in PyTorch, in turn')
    .option('--peers <list>', `any of ${PEERS.join(',')}`, peerList, PEERS)
    .option('--pairs <n>', 'pairs of measurements with each peer, in turn', wholeNumber(1), 5)
    .option(
      '--steps <n>',
      'steps in a measurement (default: as many as 1 s holds, on a GPU 0.3 s)',
      wholeNumber(1),
    )
    .option('--python <program>', 'a Python with torch (default: python3, else /usr/bin/python3)');
  return addOutputOptions(addMeasuredOptions(command)).action(
    async ({ json, save, ...options }: PeersOptions & OutputOptions) => {
      const { benchPeers } = await import('../../bench/peers.ts');
      const result = await benchPeers(options, reportProgress);
      await tell(nameMeasured('peers', result), result, describePeers, { json, save });
    },
  );
}

function peerList(text: string): readonly Peer[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(PEERS as readonly string[]).includes(name));
  if (unknown === undefined) return names as Peer[];
  throw new InvalidArgumentError(`Expected any of ${PEERS.join(',')}, got ${unknown || 'nothing'}.`);
}

function describeAgreement({ difference, errors }: GradientAgreement): string {
  const text = `gradients differ by ${difference.toExponential(1)}`;
  if (!errors) return text;
  const { theirs, ours, whole } = errors;
  const distances = [theirs, ours, whole.theirs, whole.ours].map((error) => error.toExponential(1));
  return (
    `${text} in float32; from float64, in this precision, theirs in the last layer by ${distances[0]} and ours by ` +
    `${distances[1]}, as a whole by ${distances[2]} and ${distances[3]}`
  );
}

function describePeers(result: PeersResult): string {
  const { engine, n, rows, devices } = result;
  const onGpu = devices[0] !== 'cpu';
  const memory = ({ peakBytes, devicePeakBytes }: Speed) =>
    onGpu ? formatDeviceMemory(devicePeakBytes) : formatBytes(peakBytes);
  const columns: Column[] = [
    { title: 'peer' },
    { title: 'ms/step', align: 'right' },
    { title: 'images/s', align: 'right' },
    { title: 'memory', align: 'right' },
    { title: 'our ms/step', align: 'right' },
    { title: 'our memory', align: 'right' },
    { title: 'theirs / ours', align: 'right' },
    { title: 'range' },
  ];
  const cells = rows.map((row) => {
    if ('unavailable' in row)
      return [row.peer, row.outOfMemory ? 'no memory' : '-', ...Array(columns.length - 2).fill('-')];
    const { peer, theirs, gradamp, ratio } = row;
    return [
      peer,
      formatMilliseconds(theirs.medianMilliseconds),
      formatRate(theirs.imagesPerSecond),
      memory(theirs),
      formatMilliseconds(gradamp.medianMilliseconds),
      memory(gradamp),
      ratio.median.toFixed(2),
      `${ratio.smallest.toFixed(2)} to ${ratio.largest.toFixed(2)}`,
    ];
  });
  return [
    `Training step beside peers: ${describeMeasured(result)}; ours: ${engine}.`,
    `Data assembly, forward, backward and update on both sides; medians of n = ${n} alternating pairs with each peer.`,
    '',
    formatTable(columns, cells),
    '',
    ...rows.map((row) =>
      'unavailable' in row
        ? `${row.peer}: ${row.unavailable}.`
        : `${row.peer}: ${row.description}; ${describeAgreement(row.gradients)}.`,
    ),
    ...(onGpu ? ["memory: what the devices had to give, the allocator's caches included."] : []),
    'theirs / ours: above 1 ours is faster; medians of the ratios within pairs. Gradients: relative L2, of a narrow model.',
  ].join('\n');
}
