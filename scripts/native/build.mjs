// `npm run build:native`: builds the addon of the engine torch for the libtorch that is here; installs nothing.

import { SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { addonFolder } from './addon.mjs';
import { buildAddon } from './build-addon.mjs';

try {
  await withLock('native', () => buildAddon('native', { folder: addonFolder() }));
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
