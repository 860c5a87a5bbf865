import { createRequire } from 'node:module';
import type { NativeAddon } from '../../../src/engines/torch/addon.ts';
import { fromPackage } from '../../../src/package-root.ts';

/** Fails where it is not built. */
export const addon = createRequire(import.meta.url)(
  fromPackage('build', 'native', 'gradamp.node'),
) as NativeAddon;
