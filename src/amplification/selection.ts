// Which layers to act upon: z-scores over the candidate layers against a threshold (Algorithm 1), and the controls that
// such a choice must be held against.

import { draw, Stream } from '../random.ts';
import {
  countedWeights,
  type DirectionSums,
  directionality,
  type Measure,
  noiseFloor,
  standardError,
} from './directionality.ts';
import { factorOf, type Response } from './response.ts';

export interface SelectionRule {
  readonly measure: Measure;
  /** 1: z > threshold. 2: |z| > threshold. */
  readonly case: 1 | 2;
  readonly threshold: number;
  /**
   * threshold: the layers that the case takes. random: a share `ratio` of the layers, or as many as the case takes.
   * inverted: as many as the case takes, those of lowest z. all: every candidate.
   */
  readonly selection: 'threshold' | 'random' | 'inverted' | 'all';
  /** Of a random selection; 0..1. */
  readonly ratio?: number;
  /** What z standardises: the measure itself, or how many standard errors it lies above the noise floor. */
  readonly score: 'value' | 'significance';
  /** The deviation that z divides by: of the layers as a population (divide by L) or as a sample (L - 1). */
  readonly deviation: 'population' | 'sample';
  /** Whether a weight that never had a gradient counts in n of eq. (7), and of the standard error. */
  readonly countDeadWeights: boolean;
  /** Of which tensors the layers here are made: `tensor`, of one each. Recorded; the sums are made of them before. */
  readonly pooling: 'layer' | 'weight' | 'tensor';
  /** What becomes of the layers that are taken. */
  readonly response: Response;
}

export interface MeasuredLayer {
  readonly name: string;
  readonly kind: string;
  readonly sums: DirectionSums;
}

export interface LayerSelection {
  readonly name: string;
  readonly kind: string;
  /** Weights measured. */
  readonly size: number;
  readonly G: number;
  readonly Gprime: number;
  /** Of the rule's measure and score. */
  readonly z: number;
  /** Of G under noise, from the weights that count. */
  readonly standardError: number;
  readonly chosen: boolean;
  /** What it is multiplied by until the next selection: 1 where it is not chosen, 0 where it is frozen. */
  readonly factor: number;
}

/** One line of selections.jsonl. */
export interface Selection extends Omit<SelectionRule, 'countDeadWeights'> {
  readonly epoch: number;
  /** Optimizer steps that were measured. */
  readonly iterations: number;
  readonly noiseFloor: number;
  readonly layers: readonly LayerSelection[];
  /** Why every z is 0, where it is so. */
  readonly degenerate?: string;
}

/** Where in a run a selection is made; random ones depend on (seed, index) alone. */
export interface SelectionContext {
  readonly epoch: number;
  readonly iterations: number;
  readonly seed: number;
  /** Of the run's selections, from 0. */
  readonly index: number;
  /** The phase's. */
  readonly factor: number;
}

/** Below this share of the largest value the spread is rounding, and z-scores would rank noise. */
const RELATIVE_SPREAD_TOLERANCE = 1e-6;

/** Eqs. (6), (9). All z are 0 where no spread can be stated; `degenerate` says why. */
export function zScores(
  values: readonly number[],
  deviation: SelectionRule['deviation'] = 'population',
): { z: number[]; degenerate?: string } {
  const flat = (degenerate: string) => ({ z: values.map(() => 0), degenerate });
  if (values.length < 2) return flat(`fewer than two candidate layers (${values.length})`);
  if (!values.every(Number.isFinite)) return flat('a layer has a non-finite value');
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const spread = Math.sqrt(squares / (deviation === 'population' ? values.length : values.length - 1));
  const scale = Math.max(...values.map(Math.abs));
  if (spread <= RELATIVE_SPREAD_TOLERANCE * scale) return flat('all layers have the same value');
  return { z: values.map((value) => (value - mean) / spread) };
}

export function select(
  rule: SelectionRule,
  layers: readonly MeasuredLayer[],
  context: SelectionContext,
): Selection {
  const { countDeadWeights, ...recorded } = rule;
  const { epoch, iterations } = context;
  const floor = noiseFloor(iterations);
  const ratios = layers.map(({ sums }) => directionality(sums, { countDeadWeights }));
  // Of a layer without any gradient as of a single weight: finite.
  const errors = layers.map(({ sums }) =>
    standardError(iterations, Math.max(1, countedWeights(sums, countDeadWeights))),
  );
  const values = ratios.map((ratio) => ratio[rule.measure]);
  const scores =
    rule.score === 'value' ? values : values.map((value, index) => (value - floor) / errors[index]);
  const { z, degenerate } = zScores(scores, rule.deviation);
  const taken = chooseByRule(rule, z, degenerate !== undefined);
  // A rate from z needs one.
  const idle = degenerate !== undefined && rule.response === 'continuous';
  const chosen = idle ? new Set<number>() : applySelection(rule, z, taken, context);
  return {
    epoch,
    ...recorded,
    iterations,
    noiseFloor: floor,
    layers: layers.map(({ name, kind, sums }, index) => ({
      name,
      kind,
      size: sums.size,
      ...ratios[index],
      z: z[index],
      standardError: errors[index],
      chosen: chosen.has(index),
      factor: chosen.has(index) ? factorOf(rule, z[index], context.factor) : 1,
    })),
    ...(degenerate && { degenerate }),
  };
}

/** Indices of the layers that case 1 or 2 takes. */
function chooseByRule(rule: SelectionRule, z: readonly number[], degenerate: boolean): ReadonlySet<number> {
  if (degenerate) return new Set();
  const distance = (value: number) => (rule.case === 1 ? value : Math.abs(value));
  return new Set(z.flatMap((value, index) => (distance(value) > rule.threshold ? [index] : [])));
}

function applySelection(
  rule: SelectionRule,
  z: readonly number[],
  taken: ReadonlySet<number>,
  { seed, index }: SelectionContext,
): ReadonlySet<number> {
  const layers = z.map((_, layer) => layer);
  switch (rule.selection) {
    case 'threshold':
      return taken;
    case 'all':
      return new Set(layers);
    case 'inverted':
      return lowest(layers, z, taken.size);
    case 'random': {
      const keys = layers.map((layer) => draw(seed, Stream.selection, index, layer)[0]);
      return lowest(layers, keys, rule.ratio === undefined ? taken.size : Math.round(rule.ratio * z.length));
    }
    default:
      return rule.selection satisfies never;
  }
}

/** The `count` layers with the lowest keys; of equal ones the first. */
function lowest(layers: readonly number[], keys: readonly number[], count: number): ReadonlySet<number> {
  return new Set(layers.toSorted((a, b) => keys[a] - keys[b] || a - b).slice(0, count));
}
