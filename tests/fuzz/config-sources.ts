// Configs as users may write them, right and wrong: documents, YAML texts and overrides, most of them near to valid ones.

import fc from 'fast-check';
import { documentOf } from '../../src/config/resolve.ts';
import { configs } from '../config/arbitrary-configs.ts';
import { configOverrides } from './config-overrides.ts';
import { configTexts } from './config-texts.ts';
import { edited, edits } from './trees.ts';

export type ConfigSource =
  | { readonly kind: 'document'; readonly document: unknown }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'override'; readonly set: readonly string[] };

const documents = fc
  .tuple(configs, fc.oneof(fc.constant([]), edits(1), edits(3)))
  .map(([config, changes]): ConfigSource => {
    return { kind: 'document', document: edited(documentOf(config), changes) };
  });

export const configSources: fc.Arbitrary<ConfigSource> = fc.oneof(
  { weight: 2, arbitrary: documents },
  { weight: 2, arbitrary: configTexts.map((text): ConfigSource => ({ kind: 'text', text })) },
  { weight: 1, arbitrary: configOverrides.map((set): ConfigSource => ({ kind: 'override', set })) },
);
