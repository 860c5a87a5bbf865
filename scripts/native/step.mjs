// The native build as a step of the plain set-up: done where everything is there, else told in a line. It installs
// nothing, fails nothing, and costs nothing where nothing changed.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { addonFile, addonFolder, fingerprint, readBuildInfo, sourceHash } from './addon.mjs';
import {
  askedLibtorch,
  buildAddon,
  describeMissing,
  failureNote,
  findBuildInputs,
  findTools,
} from './build-addon.mjs';

/**
 * @param program whose step it is, for its messages.
 * @returns `build`, a function, where there is something to build; `problem`, one line, where it cannot be built.
 */
export function nativeStep(program, environment = process.env) {
  // Somebody looks after that folder by hand.
  if (environment.GRADAMP_NATIVE) return {};
  const folder = addonFolder(environment);
  const failure = failureNote(folder);
  if (isUpToDate(folder, environment) && !existsSync(failure)) return {};
  const tools = findTools(environment);
  // Looking for libtorch may start a Python: only where it would be of use.
  const inputs = tools.missing.length > 0 ? tools : findBuildInputs(environment);
  const problem = describeMissing(inputs.missing, environment);
  if (problem) return { problem };
  // What failed is not tried again until something changed.
  const attempt = [sourceHash(), fingerprint(inputs.found.library), tools.compiler, tools.cmake].join('\n');
  if (existsSync(failure) && readFileSync(failure, 'utf8') === attempt) {
    return { problem: 'its addon could not be built; `npm run build:native` shows why' };
  }
  const build = async () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(failure, attempt);
    try {
      await buildAddon(program, { folder, inputs, environment });
    } catch {
      // Told by the next look.
    }
  };
  return { build };
}

function isUpToDate(folder, environment) {
  const info = readBuildInfo(folder);
  if (!info?.libtorch || !existsSync(addonFile(folder)) || !existsSync(info.libtorch.library)) return false;
  return (
    info.sources === sourceHash() &&
    // Whoever asks for nothing keeps what was once asked for.
    ['', info.asked].includes(askedLibtorch(environment)) &&
    info.fingerprint === fingerprint(info.libtorch.library)
  );
}
