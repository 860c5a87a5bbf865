// For developers: builds the addon with AddressSanitizer (and UndefinedBehaviorSanitizer) or with ThreadSanitizer, into
// build/native.asan or build/native.tsan, and runs the engine's tests with it (the compiled program must be in dist):
//   node scripts/native/sanitize.mjs asan|tsan [test files and options of vitest]
// Without files: all but restarts.test.ts, whose bounds on time and memory hold without a sanitizer alone; its workers are
// started and ended a few times instead. The last line is the verdict: no findings, findings, or not ended.
// Nothing is left out by name. Only the addon is instrumented: a race is seen between two accesses of its own code, and its
// parallel regions are made known to ThreadSanitizer by tsan_openmp.cpp.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SetupError } from '../command.mjs';
import { withLock } from '../lock.mjs';
import { buildAddon, findTools, ROOT } from './build-addon.mjs';

const TESTS = join('tests', 'engines', 'torch');
const LEFT_OUT = 'restarts.test.ts';
const ROUNDS = '2';
/** Of a test, and of all of them, in milliseconds: far more than they take on a machine with other work. */
const TEST_TIMEOUT = 600_000;
const TIMEOUT = 40 * 60_000;
const COMMON = ['-g', '-fno-omit-frame-pointer'];
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
    // What the libraries do with memory is not seen, so that what they are seen to do (by memcpy and the like) says nothing.
    // A long history, for the stack of the earlier access.
    options: {
      TSAN_OPTIONS:
        'ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66:report_signal_unsafe=0:report_thread_leaks=0:history_size=7',
    },
  },
};

const vitest = (files) => [
  join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
  ...['run', `--testTimeout=${TEST_TIMEOUT}`, ...files],
];

/** What Node is given to run, one after the other. */
function commands(files) {
  if (files.length > 0) return [vitest(files)];
  const tests = readdirSync(join(ROOT, TESTS)).filter((name) => name.endsWith('.test.ts'));
  const kept = tests.filter((name) => name !== LEFT_OUT);
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
  for (const parameters of commands(files)) {
    const [command, ...rest] = [...fixed, process.execPath, ...parameters];
    // The runtime must be the first library of a process: of the tests and of what they start.
    const env = { ...environment, LD_PRELOAD: runtimes.join(':') };
    const { status, signal, error } = spawnSync(command, rest, {
      ...{ cwd: ROOT, env, stdio: 'inherit', timeout: TIMEOUT },
    });
    const findings = readReports(reports);
    for (const finding of findings) process.stdout.write(finding);
    if (findings.length > 0) throw new SetupError(`${name} found what stands above, in ${reports}`);
    if (error?.code === 'ETIMEDOUT')
      throw new SetupError(`${parameters[0]} with ${name} did not end in ${TIMEOUT / 60_000} minutes`);
    if (status !== 0)
      throw new SetupError(
        `${parameters[0]} with ${name} ended ${signal ? `by ${signal}` : `with exit code ${status}`}`,
      );
  }
  process.stdout.write(`native: ${name} found nothing, and all tests pass\n`);
}

try {
  await sanitize(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`native: ${error instanceof SetupError ? error.message : error.stack}\n`);
  process.exitCode = 1;
}
