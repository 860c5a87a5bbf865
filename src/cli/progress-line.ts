// What one line says of a run: the progress, a complete epoch, an analysis. For the reporters to lay out.

import { PARTICIPLES } from '../amplification/response.ts';
import type { Selection } from '../amplification/selection.ts';
import { candidateNoun } from '../models/candidates.ts';
import type { EpochLine, Progress, RunOutline } from '../training/reporter.ts';
import {
  formatDuration,
  formatLearningRate,
  formatLoss,
  formatNumberOf,
  formatPercent,
  formatRate,
} from './format.ts';
import { PHASE_COLOURS, type Span } from './paint.ts';

export interface Part extends Span {
  /** The least important is the first to be left out. */
  readonly importance: number;
  readonly drawing?: boolean;
}

const BAR_WIDTH = 20;

export const phaseStyle = (phase: Progress['phase']) =>
  phase === 'validation' || phase === 'evaluation' ? 'dim' : PHASE_COLOURS[phase];

export function progressParts(progress: Progress): readonly Part[] {
  const { epoch, epochs, step, steps, phase } = progress;
  return [
    { text: `epoch ${epoch}/${epochs}`, importance: 9 },
    { text: phase, importance: 6, style: phaseStyle(phase) },
    { text: bar(step / steps, BAR_WIDTH).join(''), importance: 1, style: phaseStyle(phase), drawing: true },
    { text: `step ${step}/${steps}`, importance: 5 },
    ...figureParts(progress),
  ];
}

/** The figures that are there already. */
export function figureParts({ imagesPerSecond, loss, accuracy, secondsLeft }: Progress): readonly Part[] {
  const parts: Part[] = [];
  if (imagesPerSecond > 0) parts.push({ text: `${formatRate(imagesPerSecond)} images/s`, importance: 3 });
  if (Number.isFinite(loss)) parts.push({ text: `loss ${formatLoss(loss)}`, importance: 7 });
  if (Number.isFinite(accuracy)) parts.push({ text: `acc ${formatPercent(accuracy)}`, importance: 4 });
  if (Number.isFinite(secondsLeft)) {
    parts.push({ text: `${formatDuration(secondsLeft)} left`, importance: 8, style: 'dim' });
  }
  return parts;
}

/** `aligned`: padded, so that the lines of all epochs stand below each other. */
export function epochParts(line: EpochLine, aligned: boolean): readonly Part[] {
  const { epoch, epochs, phase, learningRate, seconds, imagesPerSecond, skippedSteps } = line;
  const number = aligned ? String(epoch).padStart(String(epochs).length) : String(epoch);
  const validation: Part[] =
    line.validationAccuracy === null
      ? []
      : [
          { text: `val loss ${formatLoss(line.validationLoss)}`, importance: 3 },
          { text: `val acc ${formatPercent(line.validationAccuracy)}`, importance: 8 },
        ];
  const parts: Part[] = [
    { text: `epoch ${number}/${epochs}`, importance: 9 },
    { text: aligned ? phase.padEnd('amplified'.length) : phase, importance: 7, style: PHASE_COLOURS[phase] },
    { text: `lr ${formatLearningRate(learningRate)}`, importance: 1 },
    { text: `loss ${formatLoss(line.trainLoss)}`, importance: 5 },
    { text: `acc ${formatPercent(line.trainAccuracy)}`, importance: 4 },
    ...validation,
    { text: `test loss ${formatLoss(line.testLoss)}`, importance: 3 },
    { text: `test acc ${formatPercent(line.testAccuracy)}`, importance: 8 },
    { text: formatDuration(seconds), importance: 2 },
    { text: `${formatRate(imagesPerSecond)} images/s`, importance: 0 },
  ];
  if (skippedSteps > 0) {
    parts.push({ text: `skipped ${formatNumberOf(skippedSteps, 'step')}`, importance: 6, style: 'yellow' });
  }
  return parts;
}

export function describeSelection(selection: Selection): string {
  const { epoch, layers, pooling, degenerate } = selection;
  const chosen = chosenNames(selection);
  const head = `epoch ${epoch} analysis: ${chosen.length} of ${formatNumberOf(layers.length, candidateNoun(pooling))} chosen${describeRule(selection)}${responseNote(selection)}`;
  if (degenerate) return `${head} (no z-scores: ${degenerate})`;
  return chosen.length === 0 ? head : `${head}: ${chosen.join(' ')}`;
}

/** What had a part in the choice, and nothing else. */
function describeRule({ measure, case: rule, threshold, selection, ratio, score }: Selection): string {
  if (selection === 'all') return ' (all)';
  if (ratio !== undefined) return ` (random, ${ratio} of all)`;
  const value = score === 'significance' ? `the significance of ${measure}` : measure;
  const condition = rule === 1 ? `z > ${threshold}` : `|z| > ${threshold}`;
  return ` by ${value}, ${condition}${selection === 'threshold' ? '' : ` (${selection})`}`;
}

/** With their factors, `conv1 ×1.62`, where each has its own. */
export const chosenNames = ({ layers, response }: Selection): readonly string[] =>
  layers
    .filter((layer) => layer.chosen)
    .map(({ name, factor }) => (response === 'continuous' ? `${name} ×${factor.toPrecision(3)}` : name));

/** What becomes of the chosen layers, where that is not amplification. */
export const responseNote = ({ response }: Selection): string =>
  response === 'amplify' ? '' : `, ${PARTICIPLES[response]}`;

/** What is trained on what, the run's name first. */
export function outlineWords({ name, model, dataset, devices, batchSize }: RunOutline): readonly string[] {
  const kinds = new Set(devices.map((device) => device.replace(/:\d+$/, '')));
  const workers = kinds.size === 1 ? `${devices.length} × ${[...kinds][0]}` : devices.join(', ');
  return [name, model, dataset, workers, `batch ${batchSize}`];
}

export const sentence = (parts: readonly Span[]) => parts.map(({ text }) => text).join(' ');

/** The parts side by side, the least important left out until they fit. */
export function fitParts(parts: readonly Part[], columns: number, separator = ' '): readonly Span[] {
  const kept = [...parts];
  const width = () => kept.reduce((sum, { text }) => sum + text.length + separator.length, -separator.length);
  while (kept.length > 1 && width() > columns) {
    const least = kept.reduce((a, b) => (b.importance < a.importance ? b : a));
    kept.splice(kept.indexOf(least), 1);
  }
  if (width() > columns) return [{ text: kept[0].text.slice(0, Math.max(columns, 0)) }];
  return kept.flatMap(({ text, style }, index) => [
    ...(index > 0 ? [{ text: separator, style: separator.trim() ? ('dim' as const) : undefined }] : []),
    { text, style },
  ]);
}

/** What is done of `fraction` 0..1, and what is left: together `width` columns. */
export function bar(fraction: number, width: number): readonly [done: string, left: string] {
  const filled = Math.round(width * Math.min(Math.max(fraction || 0, 0), 1));
  return ['━'.repeat(filled), '─'.repeat(width - filled)];
}
