import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Those of tests/gpu want a GPU: where the environment names one, and nowhere else.
    include: [process.env.GRADAMP_TEST_DEVICE ? 'tests/gpu/**/*.test.ts' : 'tests/**/*.test.ts'],
    exclude: process.env.GRADAMP_TEST_DEVICE ? [] : ['tests/gpu/**'],
    // Worker threads and WebAssembly instances are the subject here: one process a file, two at a time.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
