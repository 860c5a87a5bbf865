// For developers: builds the addon with AddressSanitizer (and UndefinedBehaviorSanitizer) or with ThreadSanitizer, into
// build/native.asan or build/native.tsan, and runs the engine's tests with it:
//   node scripts/native/sanitize.mjs asan|tsan [test files]
// Only the addon is instrumented. What the sanitizers find inside libtorch, Node and their libraries is left out by name
// in sanitize.*.txt; a race is seen only between two accesses of the addon's own code.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { buildAddon, findTools, ROOT } from './build-addon.mjs';

const COMMON = ['-g', '-fno-omit-frame-pointer'];
const suppressions = (name) => join(ROOT, 'scripts', 'native', `sanitize.${name}.txt`);
const SANITIZERS = {
  asan: {
    flags: [
      '-fsanitize=address,undefined',
      '-fno-sanitize=vptr',
      '-fno-sanitize-recover=undefined',
      ...COMMON,
    ],
    runtimes: ['libasan.so', 'libubsan.so'],
    // Node and libtorch keep what they have until the process ends: a leak check has nothing to say of the addon, which
    // tests/engines/torch watches by its memory. Node's own signal handling needs its stack.
    options: {
      ASAN_OPTIONS:
        'detect_leaks=0:detect_odr_violation=0:alloc_dealloc_mismatch=0:use_sigaltstack=0:halt_on_error=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  },
  tsan: {
    flags: ['-fsanitize=thread', ...COMMON],
    runtimes: ['libtsan.so'],
    options: {
      TSAN_OPTIONS: `suppressions=${suppressions('tsan')}:ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66:report_signal_unsafe=0`,
    },
  },
};

function testFiles() {
  const folder = join(ROOT, 'tests', 'engines', 'torch');
  const tests = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.test.ts')) : [];
  if (tests.length === 0)
    throw new SetupError(`expected tests in ${folder}, found none; name the files to run`);
  return tests.map((name) => join('tests', 'engines', 'torch', name));
}

async function sanitize([name, ...files]) {
  const sanitizer = SANITIZERS[name];
  if (!sanitizer) throw new SetupError(`expected asan or tsan, got ${name ?? 'nothing'}`);
  const folder = join(ROOT, 'build', `native.${name}`);
  const tests = files.length > 0 ? files : testFiles();
  const { compiler } = findTools();
  const runtimes = sanitizer.runtimes.map((runtime) => {
    const { stdout } = spawnSync(compiler, [`-print-file-name=${runtime}`], { encoding: 'utf8' });
    const path = stdout?.trim();
    if (!path?.includes('/'))
      throw new SetupError(`${compiler} has no ${runtime}; install it (Debian: with g++)`);
    return path;
  });
  // Its runtime must be the first library of a process: of the tests and of the probes that they start.
  const environment = { ...process.env, ...sanitizer.options, GRADAMP_NATIVE: folder };
  const preload = runtimes.join(':');
  await withLock('native', () =>
    buildAddon('native', { folder, flags: sanitizer.flags, probe: false, environment }),
  );
  // Address randomisation can take the addresses that ThreadSanitizer wants for its own.
  const vitest = [process.execPath, join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...tests];
  const command = existsSync('/usr/bin/setarch')
    ? ['/usr/bin/setarch', process.arch === 'x64' ? 'x86_64' : 'aarch64', '-R', ...vitest]
    : vitest;
  const { status, signal } = spawnSync(command[0], command.slice(1), {
    cwd: ROOT,
    env: { ...environment, LD_PRELOAD: preload },
    stdio: 'inherit',
  });
  if (status !== 0)
    throw new SetupError(
      `the tests with ${name} ended ${signal ? `by ${signal}` : `with exit code ${status}`}`,
    );
}

try {
  await sanitize(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
