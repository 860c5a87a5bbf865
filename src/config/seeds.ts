// One seed for a run, or one for each thing that is drawn, so that a single one can be varied.

/** What is drawn: initial weights, order of the images, crops and flips, random selections, images held out. */
export const SEED_NAMES = ['weights', 'order', 'augmentation', 'selection', 'validation'] as const;

/** Each 0..2^32-1. */
export type Seeds = Readonly<Record<(typeof SEED_NAMES)[number], number>>;

/** `seed` for all that are not given by themselves. */
export function resolveSeeds(seed: number, given: Partial<Seeds> = {}): Seeds {
  const { weights = seed, order = seed, augmentation = seed, selection = seed, validation = seed } = given;
  return { weights, order, augmentation, selection, validation };
}

/**
 * Those that differ from `seed`, undefined where none does: what a config file has to say, so that with a new `seed` the
 * others follow.
 */
export function ownSeeds(seed: number, seeds: Seeds): Partial<Seeds> | undefined {
  const own = SEED_NAMES.filter((name) => seeds[name] !== seed).map((name) => [name, seeds[name]]);
  return own.length === 0 ? undefined : Object.fromEntries(own);
}
