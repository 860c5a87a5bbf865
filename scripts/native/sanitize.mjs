// For developers: builds the addon with AddressSanitizer (and UndefinedBehaviorSanitizer) or with ThreadSanitizer, into
// build/native.asan or build/native.tsan, and runs the engine's tests with it (the compiled program must be in dist):
//   node scripts/native/sanitize.mjs asan|tsan [test files]
// Without files: all but restarts.test.ts, whose bounds on time and memory hold without a sanitizer alone; its workers are
// started and ended a few times instead. ThreadSanitizer also goes without models.test.ts, which takes it four minutes; its
// operations are those of replica.test.ts.
// Only the addon is instrumented. What the sanitizers find inside libtorch, Node and their libraries is left out by name
// in sanitize.*.txt; a race is seen only between two accesses of the addon's own code.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { buildAddon, findTools, ROOT } from './build-addon.mjs';

const TESTS = join('tests', 'engines', 'torch');
const ROUNDS = '2';
const COMMON = ['-g', '-fno-omit-frame-pointer'];
const suppressions = (name) => join(ROOT, 'scripts', 'native', `sanitize.${name}.txt`);
const SANITIZERS = {
  asan: {
    leftOut: ['restarts.test.ts'],
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
    leftOut: ['restarts.test.ts', 'models.test.ts'],
    flags: ['-fsanitize=thread', ...COMMON],
    runtimes: ['libtsan.so'],
    // A long history: without the stack of an earlier access, suppressions by name do not find it.
    options: {
      TSAN_OPTIONS: `suppressions=${suppressions('tsan')}:ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66:report_signal_unsafe=0:report_thread_leaks=0:history_size=7`,
    },
  },
};

const vitest = (files) => [join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...files];

/** What Node is given to run, one after the other. */
function commands(files, leftOut) {
  if (files.length > 0) return [vitest(files)];
  const tests = readdirSync(join(ROOT, TESTS)).filter((name) => name.endsWith('.test.ts'));
  const kept = tests.filter((name) => !leftOut.includes(name));
  return [vitest(kept.map((name) => join(TESTS, name))), [join(TESTS, 'restarts.mjs'), ROUNDS]];
}

/** Findings of all processes, of those too whose exit code nobody looks at. */
function readReports(folder) {
  return readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
}

async function sanitize([name, ...files]) {
  const sanitizer = SANITIZERS[name];
  if (!sanitizer) throw new SetupError(`expected asan or tsan, got ${name ?? 'nothing'}`);
  const folder = join(ROOT, 'build', `native.${name}`);
  const { compiler } = findTools();
  const runtimes = sanitizer.runtimes.map((runtime) => {
    const { stdout } = spawnSync(compiler, [`-print-file-name=${runtime}`], { encoding: 'utf8' });
    const path = stdout?.trim();
    if (!path?.includes('/'))
      throw new SetupError(`${compiler} has no ${runtime}; install it (Debian: with g++)`);
    return path;
  });
  const reports = join(folder, 'reports');
  const options = Object.entries(sanitizer.options).map(([key, value]) => [
    key,
    `${value}:log_path=${join(reports, 'report')}`,
  ]);
  const environment = { ...process.env, ...Object.fromEntries(options), GRADAMP_NATIVE: folder };
  await withLock('native', () =>
    buildAddon('native', { folder, flags: sanitizer.flags, probe: false, environment }),
  );
  // Address randomisation can take the addresses that ThreadSanitizer wants for its own.
  const fixed = existsSync('/usr/bin/setarch')
    ? ['/usr/bin/setarch', process.arch === 'x64' ? 'x86_64' : 'aarch64', '-R']
    : [];
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  for (const parameters of commands(files, sanitizer.leftOut)) {
    const [command, ...rest] = [...fixed, process.execPath, ...parameters];
    // The runtime must be the first library of a process: of the tests and of what they start.
    const env = { ...environment, LD_PRELOAD: runtimes.join(':') };
    const { status, signal } = spawnSync(command, rest, { cwd: ROOT, env, stdio: 'inherit' });
    const findings = readReports(reports);
    for (const finding of findings) process.stdout.write(finding);
    if (findings.length > 0) throw new SetupError(`${name} found what stands above, in ${reports}`);
    if (status !== 0)
      throw new SetupError(
        `${parameters[0]} with ${name} ended ${signal ? `by ${signal}` : `with exit code ${status}`}`,
      );
  }
}

try {
  await sanitize(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
