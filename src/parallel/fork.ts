// Another run from the same beginning: a state is gone on with under another choice of layers.

import { type MeasuredLayer, type Selection, select } from '../amplification/selection.ts';
import { configChanges } from '../config/changes.ts';
import type { AmplificationSettings, Config } from '../config/schema.ts';
import { planOf } from './outline.ts';
import type { Fork } from './resumption.ts';

/** What of an amplification acts only when layers are chosen, and behind that. */
const OF_THE_CHOICE: readonly (keyof AmplificationSettings)[] = [
  ...(['measure', 'case', 'threshold', 'selection', 'ratio', 'score', 'deviation'] as const),
  ...(['countDeadWeights', 'apply', 'response'] as const),
];

/**
 * The state of a run that stands behind an analysis, with the layers chosen again as `after` says. Where that analysis
 * was its first, training on gives what `after` alone would have given from the start, bit for bit. Nothing is shared:
 * a state may be forked as often as wanted.
 * @throws RangeError where the state stands elsewhere, or the configs differ in more than the choice.
 */
export function fork({ config: before, state }: Fork, after: Config): Fork {
  const { history, step, selections, measured } = state.progress;
  const last = selections.at(-1);
  if (step > 0 || last === undefined || last.epoch !== history.length) {
    throw new RangeError(
      `expected a run that has just chosen layers, got one at epoch ${history.length}, step ${step}, which chose last in epoch ${last?.epoch ?? 'none'}`,
    );
  }
  if (after.amplification === 'none') throw new RangeError('expected a config that amplifies, got none');
  const other = configChanges(before, after).find(
    ({ key }) => !OF_THE_CHOICE.some((name) => key === `amplification.${name}`),
  );
  if (other)
    throw new RangeError(`expected configs that differ in the choice of layers, got another ${other.key}`);
  const selection = chooseAgain(after, after.amplification, last, { measured, index: selections.length - 1 });
  const progress = { ...state.progress, selections: [...selections.slice(0, -1), selection] };
  return { config: after, state: { ...state, progress } };
}

function chooseAgain(
  config: Config,
  rule: AmplificationSettings,
  { epoch, iterations }: Selection,
  { measured, index }: { readonly measured: readonly MeasuredLayer[]; readonly index: number },
): Selection {
  const { factor } = planOf(config, epoch);
  return select(rule, measured, { epoch, iterations, factor, index, seed: config.seeds.selection });
}
