import { defineConfig } from 'vitest/config';

const { GRADAMP_TEST_DEVICE, GRADAMP_TEST_SLOW } = process.env;

/** Those of tests/gpu want a GPU, where the environment names one; those of tests/slow want time, where it says so. */
function chosen() {
  if (GRADAMP_TEST_DEVICE) return { include: ['tests/gpu/**/*.test.ts'] };
  if (GRADAMP_TEST_SLOW) return { include: ['tests/slow/**/*.test.ts'] };
  return { include: ['tests/**/*.test.ts'], exclude: ['tests/gpu/**', 'tests/slow/**'] };
}

export default defineConfig({
  test: {
    ...chosen(),
    // Worker threads and WebAssembly instances are the subject here: one process a file, two at a time.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
