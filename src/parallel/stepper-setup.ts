// What a stepper is made of: what a worker was given, and what it made of that.

import type { AmplificationSettings, Config } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Candidate } from '../models/candidates.ts';
import type { Graph } from '../models/graph.ts';
import type { Control } from './control.ts';
import type { ParameterStore } from './store.ts';

export interface StepperSetup {
  readonly rank: number;
  readonly config: Config;
  readonly dataset: Dataset;
  readonly graph: Graph;
  readonly candidates: readonly Candidate[];
  readonly store: ParameterStore;
  readonly control: Control;
  /** The run's folder, for recorded gradients. */
  readonly directory?: string;
}

/** What the factors are of, and what the update measures; of no consequence where nothing is. */
export function updateSettings({
  amplification,
}: Config): Pick<AmplificationSettings, 'apply' | 'measureWeightDecay'> {
  return amplification === 'none' ? { apply: 'gradient', measureWeightDecay: false } : amplification;
}
