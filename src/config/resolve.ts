// From a checked document, as users write it, to the config that a run works with, and back.

import { type Config, type ConfigDocument, documentSchema } from './schema.ts';
import { ownSeeds, resolveSeeds } from './seeds.ts';

/** The config that a checked document stands for. */
export function resolveConfig(document: ConfigDocument): Config {
  return {
    ...document,
    model: typeof document.model === 'string' ? { name: document.model, width: 1 } : document.model,
    dataDir: document.dataDir ?? `data/${document.dataset}`,
    seeds: resolveSeeds(document.seed, document.seeds),
    schedule: document.schedule.map(([endEpoch, learningRate, amplify, factor]) => ({
      endEpoch,
      learningRate,
      amplify,
      factor,
    })),
  };
}

/** The document that `resolveConfig` turns back into this config, every default written out. */
export function documentOf(config: Config): Record<string, unknown> {
  const schedule = config.schedule.map(({ endEpoch, learningRate, amplify, factor }) => [
    endEpoch,
    learningRate,
    amplify,
    factor,
  ]);
  const seeds = ownSeeds(config.seed, config.seeds);
  const values: Record<string, unknown> = { ...config, schedule, seeds };
  const keys = Object.keys(documentSchema.shape).filter((key) => values[key] !== undefined);
  return Object.fromEntries(keys.map((key) => [key, values[key]]));
}
